-- What happened to one run or object is asked of a trail of millions.
CREATE INDEX audit_of_target ON audit (target, seq);
