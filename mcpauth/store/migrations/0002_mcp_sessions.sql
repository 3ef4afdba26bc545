-- 0002: the MCP sessions of legacy clients outlive the process.

create table mcp_sessions (
    session_hash text primary key,
    grant_id     text references grants on delete cascade,   -- null: authorization is switched off
    endpoint     text,                                        -- a backend; null: all of them
    handshake    text not null,                               -- JSON: what a new backend session must be told
    last_used_at integer not null
) strict;

create index mcp_sessions_by_grant on mcp_sessions (grant_id);
