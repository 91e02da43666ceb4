-- Exactly these rights, whatever the role had before: it reads and writes rows, owns nothing and makes nothing.
-- infra/ledger-rights runs this in the database of the ledger, as the owner of its tables.
begin;
select format('revoke temporary on database %I from public', current_database()) \gexec
select format('grant connect on database %I to %I', current_database(), :'name') \gexec
revoke all on schema public from public, :"name";
grant usage on schema public to :"name";
revoke all on all tables in schema public from public, :"name";
grant select, insert, update, delete on all tables in schema public to :"name";
revoke all on all sequences in schema public from public, :"name";
grant usage on all sequences in schema public to :"name";
-- The version of the schema is written by `optout consent migrate`.
select format('revoke insert, update, delete on public.consent_meta from %I', :'name')
 where to_regclass('public.consent_meta') is not null
\gexec

-- A grant by somebody who may not give it is a warning and no error: look what came of it.
select count(*) = 0 as no_tables,
       count(*) > count(*) filter (where has_table_privilege(:'name', c.oid, 'select')) as not_given,
       has_schema_privilege(:'name', 'public', 'create') as may_make_tables
  from pg_class c
 where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
\gset
\if :no_tables
  do $$ begin raise exception 'there are no tables yet: run optout consent migrate first'; end $$;
\endif
\if :not_given
  do $$ begin raise exception 'the tables belong to somebody else: sign in as who ran optout consent migrate'; end $$;
\endif
\if :may_make_tables
  do $$ begin raise exception 'the role may make tables: remove what gives it that right'; end $$;
\endif
commit;
