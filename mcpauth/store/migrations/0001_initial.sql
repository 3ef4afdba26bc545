-- 0001: everything of the first version.

create table users (
    user_id     text primary key,
    name        text not null collate nocase unique,
    role        text not null check (role in ('owner', 'member', 'pending')),
    created_at  integer not null,
    role_set_at integer not null
) strict;

create table identities (
    provider    text not null,
    provider_id text not null,
    user_id     text not null references users on delete cascade,
    login       text not null,
    email       text,
    picture     text,
    linked_at   integer not null,
    primary key (provider, provider_id)
) strict;

create index identities_by_user on identities (user_id);

create table passwords (
    user_id       text primary key references users on delete cascade,
    password_hash text not null,
    changed_at    integer not null
) strict;

create table clients (
    client_id               text primary key,
    client_name             text not null,
    metadata                text not null,     -- JSON: what was registered, as it is echoed
    secret_hash             text,
    registration_token_hash text,
    preregistered           integer not null,
    created_at              integer not null,
    used_at                 integer            -- a grant was made with it; null: swept after 90 days
) strict;

create index clients_unused on clients (created_at) where used_at is null and preregistered = 0;

create table grants (
    grant_id     text primary key,
    user_id      text not null references users on delete cascade,
    client_id    text not null references clients on delete cascade,
    redirect_uri text not null,
    scope        text not null,
    resource     text not null,
    servers      text,                          -- JSON: what was ticked; null: everything
    created_at   integer not null,
    ended_at     integer,
    end_reason   text
) strict;

create index grants_by_user on grants (user_id, client_id);
create index grants_by_client on grants (client_id);

create table authorization_codes (
    code_hash      text primary key,
    grant_id       text not null references grants on delete cascade,
    redirect_uri   text not null,
    code_challenge text not null,
    expires_at     integer not null,
    redeemed_at    integer
) strict;

create index authorization_codes_by_grant on authorization_codes (grant_id);

create table refresh_tokens (
    token_hash    text primary key,
    grant_id      text not null references grants on delete cascade,
    generation    integer not null,
    issued_at     integer not null,
    expires_at    integer not null,
    rotated_at    integer,                      -- its successor was handed out
    superseded_at integer,                      -- the successor, or an access token beside it, was used
    unique (grant_id, generation)
) strict;

create table sessions (
    session_id        text primary key,
    user_id           text not null references users on delete cascade,
    grant_id          text references grants on delete cascade,   -- null: a browser's
    cookie_hash       text unique,
    opened_at         integer not null,
    last_used_at      real not null,
    access_expires_at integer not null,          -- of the last access token; 0: none
    generation        integer not null           -- of refresh tokens: the newest whose access token was used
) strict;

create index sessions_by_user on sessions (user_id);
create unique index sessions_by_grant on sessions (grant_id) where grant_id is not null;

create table used_once (
    value_hash text primary key,
    expires_at integer not null
) strict;

create table notices (
    notice_id  integer primary key,
    user_id    text not null references users on delete cascade,
    kind       text not null,
    about      text not null,
    created_at integer not null
) strict;

create table published_names (
    published_name text primary key,
    backend        text not null,
    tool           text not null,
    published_at   integer not null,
    unique (backend, tool)
) strict;
