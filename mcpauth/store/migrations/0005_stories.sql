-- 0005: connection attempts, each as one story. Nothing in it is secret.

create table stories (
    story_id text primary key,
    began_at integer not null,
    last_at  integer not null,
    story    text not null
) strict;

create index stories_last_at on stories (last_at);
