-- What was written since the last clean-up stands in a list beside the index over words, which every search reads to its end. With 4 MB of it, the
-- default, a search among 10,000 passages took five times as long: the planner left the index. Its writers sort it in a little oftener instead.
ALTER INDEX passages_lexemes SET (gin_pending_list_limit = 256);
