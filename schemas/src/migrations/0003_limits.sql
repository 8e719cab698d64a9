-- To which metrics and devices a token is limited: names, one a line, a * at the end for all that begin so. None: to nothing.
ALTER TABLE tokens ADD COLUMN metrics TEXT;
ALTER TABLE tokens ADD COLUMN devices TEXT;
