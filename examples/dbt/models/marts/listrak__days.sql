{%- set events = {'opens': 'opened_at', 'reads': 'read_at', 'clicks': 'clicked_at', 'bounces': 'bounced_at'} -%}
with messages as (
    select * from {{ ref('listrak__campaigns') }}
),

{# Who left on a day not known is counted neither as come nor as gone. -#}
members as (
    select * from {{ ref('listrak__list_members') }}
    where is_subscribed or unsubscribed_at is not null
),

counts as (
    select list_id, cast(sent_at as date) as day, 'messages' as what, count(*) as number
    from messages
    where sent_at is not null
    group by 1, 2
    union all
    select list_id, cast(sent_at as date), 'delivered', cast(sum(delivered) as bigint)
    from messages
    where sent_at is not null
    group by 1, 2
{%- for event, happened_at in events.items() %}
    union all
    select messages.list_id, cast(events.{{ happened_at }} as date), '{{ event }}', count(*)
    from {{ ref('stg_listrak__message_' ~ event) }} as events
    inner join messages on events.message_id = messages.message_id
    where events.{{ happened_at }} is not null
    group by 1, 2
{%- endfor %}
    union all
    select list_id, cast(subscribed_at as date), 'subscribed', count(*)
    from members
    where subscribed_at is not null
    group by 1, 2
    union all
    select list_id, cast(unsubscribed_at as date), 'unsubscribed', count(*)
    from members
    where not is_subscribed
    group by 1, 2
),

lists as (
    select list_id, min(day) as first_day from counts where list_id is not null group by list_id
),

days as (
    select list_id, {{ days_between('first_day', 'last_day') }} as day
    from lists
    cross join (select max(day) as last_day from counts) as ends
),

{# Members without a date were there before the first day. -#}
before as (
    select list_id, count(*) as members from members where subscribed_at is null group by list_id
),

daily as (
    select
        days.list_id,
        days.day,
{%- for what in ['messages', 'delivered'] + events.keys() | list + ['subscribed', 'unsubscribed'] %}
        cast(coalesce(sum(counts.number) filter (where counts.what = '{{ what }}'), 0) as bigint) as {{ what }}
        {{- ',' if not loop.last }}
{%- endfor %}
    from days
    left join counts on days.list_id = counts.list_id and days.day = counts.day
    group by days.list_id, days.day
)

select
    daily.*,
    daily.subscribed - daily.unsubscribed as net_subscribed,
    cast(
        coalesce(before.members, 0)
        + sum(daily.subscribed - daily.unsubscribed) over (partition by daily.list_id order by daily.day nulls first)
    as bigint) as subscribers
from daily
left join before on daily.list_id = before.list_id
