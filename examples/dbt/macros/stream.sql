{#
  The rows of a table that the tap fills: typed columns under names of their own, one row a key.

  Streams and columns are selected one by one, and targets differ. So a table that is not there gives
  no rows, a column that is not there NULL, and names are found in any case.

  columns: a list of [the tap's name, the name here, its type]: text, address, integer, number, boolean or
  timestamp. An address is trimmed and in lower case, so that a contact is one however it was typed.
  key: the names here of the columns that identify a row.
#}
{% macro stream(name, key, columns) -%}
{%- set table = load_relation(source('listrak', name)) if execute else none -%}
{%- set found = {} -%}
{%- if table -%}
  {%- for column in adapter.get_columns_in_relation(table) -%}
    {%- do found.update({column.name | lower: column}) -%}
  {%- endfor -%}
{%- endif -%}
with typed as (
    select
    {%- for source_name, alias, type in columns %}
        {{ typed_column(found.get(source_name | lower), type) }} as {{ alias }},
    {%- endfor %}
        {{ typed_column(found.get('_sdc_batched_at', found.get('_sdc_extracted_at')), 'timestamp') }} as loaded_at
    {%- if table %}
    from {{ table }}
      {%- if '_sdc_deleted_at' in found %}
    where {{ adapter.quote(found['_sdc_deleted_at'].name) }} is null
      {%- endif %}
    {%- else %}
    where false
    {%- endif %}
),

numbered as (
    select
        *,
        row_number() over (
            partition by {{ key | join(', ') }}
            order by
                loaded_at desc
                {#- Where two spellings of an address were loaded at once, every build takes the same. #}
                {%- for _, alias, _ in columns if alias not in key %}, {{ alias }} desc nulls last{% endfor %}
        ) as row_of_key
    from typed
)

select
{%- for _, alias, _ in columns %}
    {{ alias }},
{%- endfor %}
    loaded_at
from numbered
where row_of_key = 1
{%- endmacro %}


{# A count of a stream's rows: 0 where it has none, but `otherwise` where its table was not loaded. #}
{% macro counted(stream, count, otherwise='cast(null as bigint)') -%}
{%- if execute and load_relation(source('listrak', stream)) -%}
coalesce({{ count }}, 0)
{%- else -%}
{{ otherwise }}
{%- endif -%}
{%- endmacro %}


{% macro typed_column(column, type) -%}
{%- set types = {
    'text': 'text', 'address': 'text', 'integer': 'bigint', 'number': 'double precision', 'boolean': 'boolean', 'timestamp': 'timestamp'
} -%}
{%- if column is none or column is not defined -%}
cast(null as {{ types[type] }})
{%- else -%}
{%- set name = adapter.quote(column.name) -%}
{%- if type == 'timestamp' -%}
{{ utc(name, column.dtype | lower) }}
{%- elif type == 'text' -%}
nullif(cast({{ name }} as text), '')
{%- elif type == 'address' -%}
nullif(lower(trim(cast({{ name }} as text))), '')
{%- else -%}
cast({{ name }} as {{ types[type] }})
{%- endif -%}
{%- endif -%}
{%- endmacro %}
