{%- set events = {
    'sends': none, 'opens': 'opened_at', 'reads': 'read_at', 'clicks': 'clicked_at', 'bounces': 'bounced_at',
    'unsubs': 'unsubscribed_at'
} %}
with events as (
{%- for event, happened_at in events.items() %}
    select
        message_id,
        email_address,
        {{ 'contact_id' if happened_at else 'cast(null as text)' }} as contact_id,
        '{{ event }}' as event,
        {{ happened_at or 'cast(null as timestamp)' }} as happened_at,
        {{ 'bounce_reason' if event == 'bounces' else 'cast(null as text)' }} as bounce_reason
    from {{ ref('stg_listrak__message_' ~ event) }}
    {{ 'union all' if not loop.last }}
{%- endfor %}
),

messages as (
    select * from {{ ref('stg_listrak__messages') }}
),

recipients as (
    select
        message_id,
        email_address,
        max(contact_id) as contact_id,
        bool_or(event = 'sends') as was_sent,
        bool_or(event = 'opens') as was_opened,
        bool_or(event = 'reads') as was_read,
        bool_or(event = 'clicks') as was_clicked,
        bool_or(event = 'bounces') as was_bounced,
        bool_or(event = 'unsubs') as was_unsubscribed,
        count(*) filter (where event = 'opens') as opens,
        count(*) filter (where event = 'reads') as reads,
        count(*) filter (where event = 'clicks') as clicks,
        min(happened_at) filter (where event = 'opens') as first_opened_at,
        min(happened_at) filter (where event = 'reads') as first_read_at,
        min(happened_at) filter (where event = 'clicks') as first_clicked_at,
        min(happened_at) filter (where event = 'bounces') as first_bounced_at,
        min(happened_at) filter (where event = 'unsubs') as unsubscribed_at,
        max(happened_at) filter (where event in ('opens', 'reads', 'clicks')) as last_engaged_at,
        {# The worst, should there be several. -#}
        min(case
            when event <> 'bounces' then null
            when lower(bounce_reason) like '%hard%' then '1 hard'
            when lower(bounce_reason) like '%soft%' then '2 soft'
            else '3 other'
        end) as bounce_kind
    from events
    group by message_id, email_address
)

select
    recipients.message_id,
    recipients.email_address,
    recipients.contact_id,
    messages.list_id,
    messages.sent_at,
    recipients.was_sent,
    recipients.was_opened,
    recipients.was_read,
    recipients.was_clicked,
    recipients.was_bounced,
    recipients.was_unsubscribed,
    recipients.opens,
    recipients.reads,
    recipients.clicks,
    substr(recipients.bounce_kind, 3) as bounce_kind,
    recipients.first_opened_at,
    recipients.first_read_at,
    recipients.first_clicked_at,
    recipients.first_bounced_at,
    recipients.unsubscribed_at,
    recipients.last_engaged_at,
    {{ minutes_between('messages.sent_at', 'recipients.first_opened_at') }} as minutes_to_open,
    {{ minutes_between('messages.sent_at', 'recipients.first_read_at') }} as minutes_to_read,
    {{ minutes_between('messages.sent_at', 'recipients.first_clicked_at') }} as minutes_to_click
from recipients
left join messages on recipients.message_id = messages.message_id
