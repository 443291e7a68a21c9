{#
  A column as a timestamp in UTC, whatever the loader made of it: a timestamp, which is in UTC already,
  or text as Listrak wrote it. Listrak writes event dates in either of two forms, 2026-06-30T13:00:00
  and 6/30/2026 1:00:00 PM. Other text, and a date that does not exist, is NULL. So is a time before 1990,
  since 0001-01-01, 1900-01-01 and 1970-01-01 are ways to write "no date", and a time in the future.
#}
{% macro utc(name, dtype) -%}
{%- if 'with time zone' in dtype or dtype == 'timestamptz' -%}
{{ possible(name ~ " at time zone 'UTC'") }}
{%- elif 'timestamp' in dtype or dtype == 'date' -%}
{{ possible('cast(' ~ name ~ ' as timestamp)') }}
{%- else -%}
{{ possible(adapter.dispatch('utc_of_text', 'listrak')(name)) }}
{%- endif -%}
{%- endmacro %}


{# One day of tolerance, for wall clocks of another zone. The moment is computed once, as it may be long. -#}
{% macro possible(moment) -%}
{%- set first = "timestamp '1990-01-01 00:00:00'" -%}
{%- set last = "cast(current_timestamp at time zone 'UTC' as timestamp) + interval '1 day'" -%}
nullif(nullif(greatest(least({{ moment }}, {{ last }}), {{ first }}), {{ first }}), {{ last }})
{%- endmacro %}


{# PostgreSQL stops at a date that does not exist, so the text is checked in full before it is cast. #}
{% macro default__utc_of_text(name) -%}
{%- set iso_date = '([12][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' -%}
{%- set iso_time = '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?' -%}
{%- set us_date = '(0?[1-9]|1[0-2])/(0?[1-9]|[12][0-9]|3[01])/[12][0-9]{3}' -%}
{%- set us_time = '(0?[1-9]|1[0-2]):[0-5][0-9]:[0-5][0-9] [AP]M' -%}
{%- set iso = ['substr(' ~ name ~ ', 1, 4)', 'substr(' ~ name ~ ', 6, 2)', 'substr(' ~ name ~ ', 9, 2)'] -%}
{%- set us_words = "split_part(" ~ name ~ ", ' ', " -%}
{%- set us_part = "split_part(" ~ us_words ~ "1), '/', " -%}
case
    when {{ name }} ~ '^{{ iso_date }}[T ]{{ iso_time }} ?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])$'
        then case when {{ day_exists(*iso) }} then cast({{ name }} as timestamptz) at time zone 'UTC' end
    when {{ name }} ~ '^{{ iso_date }}([T ]{{ iso_time }})?$'
        then case when {{ day_exists(*iso) }} then {{ from_listraks_zone('cast(' ~ name ~ ' as timestamp)') }} end
    when {{ name }} ~ '^{{ us_date }} {{ us_time }}$'
        then case when {{ day_exists(us_part ~ '3)', us_part ~ '1)', us_part ~ '2)') }} then {{ from_listraks_zone(
            "(to_date(" ~ us_words ~ "1), 'MM/DD/YYYY') + cast(" ~ us_words ~ "2) || " ~ us_words ~ "3) as time))"
        ) }} end
end
{%- endmacro %}


{# Whether a month has the day: counted from the month's first, it is in the month. #}
{% macro day_exists(year, month, day) -%}
extract(month from make_date(cast({{ year }} as int), cast({{ month }} as int), 1) + cast({{ day }} as int) - 1)
    = cast({{ month }} as int)
{%- endmacro %}


{% macro duckdb__utc_of_text(name) -%}
case
    when regexp_matches({{ name }}, '(Z|[+-][0-9][0-9]:?[0-9][0-9])$') and {{ name }} like '%:%'
        then case
            when regexp_matches({{ name }}, '(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])$')
                then try_cast({{ name }} as timestamptz) at time zone 'UTC'
        end
    else {{ from_listraks_zone(possible(
        "coalesce(try_cast(" ~ name ~ " as timestamp), try_strptime(" ~ name ~ ", '%-m/%-d/%Y %-I:%M:%S %p'))"
    )) }}
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
