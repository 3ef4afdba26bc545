-- 0004: what the owner decides about clients and their connections.

alter table clients add column label text;                -- what the owner calls it
alter table clients add column paused_at integer;
alter table clients add column access_token_ttl integer;  -- null: as settings and profile say

alter table grants add column label text;
alter table grants add column paused_at integer;
alter table grants add column ends_at integer;            -- used or not; null: as long as it is used

-- The session of a client whose access tokens live longer than an unused session would.
alter table sessions add column kept_until integer not null default 0;

create table client_approvals (
    client_id   text primary key,               -- a client that publishes what it is has no row in clients yet
    client_name text not null,                  -- what it said of itself when it asked
    hosts       text not null,                  -- where its answers go
    asked_by    text references users on delete set null,
    asked_at    integer not null,
    decision    text check (decision in ('approved', 'refused')),  -- null: it waits
    decided_at  integer
) strict;

create index client_approvals_waiting on client_approvals (asked_at) where decision is null;

insert into client_approvals (client_id, client_name, hosts, asked_at, decision, decided_at)
select client_id, client_name, '', coalesce(used_at, created_at), 'approved', coalesce(used_at, created_at)
  from clients
 where used_at is not null or preregistered;
