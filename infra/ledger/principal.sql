-- The role of an Entra principal. infra/ledger-rights runs this in the database postgres, as an Entra administrator.
-- https://learn.microsoft.com/azure/postgresql/flexible-server/security-manage-entra-users
select pgaadauth_create_principal_with_oid(:'name', :'object_id', :'kind', false, false)
 where not exists (select from pg_roles where rolname = :'name');

-- The identity was made anew under its old name: the role is its new one's.
select format('security label for pgaadauth on role %I is %L', :'name',
              format('aadauth,oid=%s,type=%s', :'object_id', :'kind'))
 where not exists (select from pg_seclabels
                    where provider = 'pgaadauth' and objtype = 'role' and objname = quote_ident(:'name')
                      and label like '%' || :'object_id' || '%')
\gexec
