{#
  A column as a timestamp in UTC, whatever the loader made of it: a timestamp, which is in UTC already,
  or text as Listrak wrote it. Listrak writes event dates in either of two forms, 2026-06-30T13:00:00
  and 6/30/2026 1:00:00 PM. Other text is NULL. So is 1970, which stands in a key for no date.
#}
{% macro utc(name, dtype) -%}
nullif(
    {%- if 'with time zone' in dtype or dtype == 'timestamptz' -%}
    {{ name }} at time zone 'UTC'
    {%- elif 'timestamp' in dtype or dtype == 'date' -%}
    cast({{ name }} as timestamp)
    {%- else -%}
    {{ adapter.dispatch('utc_of_text', 'listrak')(name) }}
    {%- endif -%}
, timestamp '1970-01-01 00:00:00')
{%- endmacro %}


{% macro default__utc_of_text(name) -%}
case
    when {{ name }} ~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)? ?(Z|[+-]\d\d:?\d\d)$'
        then cast({{ name }} as timestamptz) at time zone 'UTC'
    when {{ name }} ~ '^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?$'
        then {{ from_listraks_zone('cast(' ~ name ~ ' as timestamp)') }}
    when {{ name }} ~ '^\d{1,2}/\d{1,2}/\d{4} \d{1,2}:\d\d:\d\d [AP]M$'
        then {{ from_listraks_zone(
            "(to_date(split_part(" ~ name ~ ", ' ', 1), 'MM/DD/YYYY')"
            " + cast(split_part(" ~ name ~ ", ' ', 2) || split_part(" ~ name ~ ", ' ', 3) as time))"
        ) }}
end
{%- endmacro %}


{% macro duckdb__utc_of_text(name) -%}
case
    when regexp_matches({{ name }}, '(Z|[+-]\d\d:?\d\d)$') and {{ name }} like '%:%'
        then try_cast({{ name }} as timestamptz) at time zone 'UTC'
    else {{ from_listraks_zone(
        "coalesce(try_cast(" ~ name ~ " as timestamp), try_strptime(" ~ name ~ ", '%-m/%-d/%Y %-I:%M:%S %p'))"
    ) }}
end
{%- endmacro %}


{% macro from_listraks_zone(wall_clock) -%}
({{ wall_clock }} at time zone '{{ var("listrak_timezone") }}') at time zone 'UTC'
{%- endmacro %}


{# How long it took, in minutes. #}
{% macro minutes_between(earlier, later) -%}
cast(extract(epoch from ({{ later }} - {{ earlier }})) / 60 as double precision)
{%- endmacro %}


{# A column of each day from one date to another, both within. #}
{% macro days_between(first, last) -%}
{{ adapter.dispatch('days_between', 'listrak')(first, last) }}
{%- endmacro %}

{% macro default__days_between(first, last) -%}
cast(generate_series({{ first }}, {{ last }}, interval '1 day') as date)
{%- endmacro %}

{% macro duckdb__days_between(first, last) -%}
cast(unnest(generate_series(cast({{ first }} as timestamp), cast({{ last }} as timestamp), interval '1 day')) as date)
{%- endmacro %}


{# A share between 0 and 1; NULL of nothing. #}
{% macro share(part, whole) -%}
cast({{ part }} as double precision) / nullif({{ whole }}, 0)
{%- endmacro %}
