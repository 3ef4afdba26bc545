-- Prompts are published as tools are, and have names of their own: a tool and a prompt may be called the same.
create table published (
    kind           text not null check (kind in ('tool', 'prompt')),
    published_name text not null,
    backend        text not null,
    name           text not null,
    published_at   integer not null,
    primary key (kind, published_name),
    unique (kind, backend, name)
) strict;

insert into published (kind, published_name, backend, name, published_at)
select 'tool', published_name, backend, tool, published_at from published_names;

drop table published_names;
alter table published rename to published_names;
