-- How an agent wants to be talked to where that is not what its card says (`Options` of the domain;
-- what is not in it has its default), and what the last probe found.
ALTER TABLE agent ADD COLUMN options json NOT NULL DEFAULT '{}', ADD COLUMN probe json;

-- A completed step's artifacts as its agent sent them; null: it sent none.
ALTER TABLE step_execution ADD COLUMN artifacts json;
