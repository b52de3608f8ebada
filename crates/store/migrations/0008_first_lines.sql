-- The first line of the program that tells it from others. It belongs to the history of the run.
ALTER TABLE runs ADD COLUMN first_line TEXT;
