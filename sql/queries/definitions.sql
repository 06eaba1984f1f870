-- Workflow definitions, by what a run is pinned to.

-- name: definition
SELECT key, name, data FROM workflow WHERE lifelong_id = $1 AND version = $2
