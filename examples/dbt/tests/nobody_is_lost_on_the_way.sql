{# Each count of the campaigns, of all lists and of all days, is made of the same rows of the staging. #}
{%- set counts = {'opens': 'opened_at', 'reads': 'read_at', 'clicks': 'clicked_at', 'bounces': 'bounced_at'} %}
with totals as (
{%- for event, happened_at in counts.items() %}
    select
        '{{ event }}, recipients' as what,
        (select count(*) from (select distinct message_id, email_address from {{ ref('stg_listrak__message_' ~ event) }}) as staged) as expected,
        (select count(*) from {{ ref('listrak__campaign_recipients') }} where was_{{ {'opens': 'opened', 'reads': 'read', 'clicks': 'clicked', 'bounces': 'bounced'}[event] }}) as found
    union all
    select
        '{{ event }}, days',
        (
            select count(*)
            from {{ ref('stg_listrak__message_' ~ event) }} as events
            inner join {{ ref('stg_listrak__messages') }} as messages on events.message_id = messages.message_id
            where events.{{ happened_at }} is not null and messages.list_id is not null
        ),
        (select coalesce(sum({{ event }}), 0) from {{ ref('listrak__days') }})
    union all
{%- endfor %}
    select
        'subscribers',
        (select count(*) from {{ ref('listrak__list_members') }} where is_subscribed),
        (
            select coalesce(sum(subscribers), 0)
            from {{ ref('listrak__days') }}
            where day = (select max(day) from {{ ref('listrak__days') }})
        )
)

select * from totals where expected <> found
