-- A context that is being taken in from a file is not there yet: it is written as one whose time is over, which nobody is shown, also by the code before
-- this. Who takes it in moves taken_in_until on with each part; NULL: it is whole. What is left behind once that is past is removed as what has expired is.
ALTER TABLE contexts ADD COLUMN taken_in_until timestamptz;
