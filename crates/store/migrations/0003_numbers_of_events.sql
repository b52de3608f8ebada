-- Events are told before they are stored. All that were told have numbers below this one, so that a server that comes after a crash uses none twice.
ALTER TABLE runs ADD COLUMN event_numbers_end BIGINT NOT NULL DEFAULT 0;
