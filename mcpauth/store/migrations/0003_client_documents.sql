-- 0003: what clients publish of themselves, and grants that want a signed assertion.

create table fetched_documents (
    kind        text not null check (kind in ('client', 'keys')),
    uri_hash    text not null,
    uri         text not null,
    body        text not null,                  -- JSON, as it came
    fetched_at  integer not null,
    fresh_until integer not null,
    primary key (kind, uri_hash)
) strict;

create index fetched_documents_by_age on fetched_documents (kind, fetched_at);

-- The client proved itself with a key once: from then on nothing weaker is taken for this grant.
alter table grants add column asserted integer not null default 0;
