-- A task may no more than the credential that it was asked for with, though the worker runs it without that credential.
ALTER TABLE tasks ADD COLUMN limits jsonb NOT NULL DEFAULT '[]';
