with clicks as (
    select
        message_id,
        link_url,
        max(link_description) as link_description,
        count(*) as clicks,
        count(distinct email_address) as unique_clicks,
        min(clicked_at) as first_clicked_at,
        max(clicked_at) as last_clicked_at
    from {{ ref('stg_listrak__message_clicks') }}
    where link_url is not null
    group by message_id, link_url
),

{# A message may have the same address in several places, each a link of its own. -#}
links as (
    select
        message_id,
        link_url,
        max(link_description) as link_description,
        max(link_type) as link_type,
        count(*) as places,
        sum(click_count) as clicks,
        sum(clicker_count) as unique_clicks
    from {{ ref('stg_listrak__message_links') }}
    where link_url is not null
    group by message_id, link_url
)

select
    coalesce(clicks.message_id, links.message_id) as message_id,
    coalesce(clicks.link_url, links.link_url) as link_url,
    coalesce(links.link_description, clicks.link_description) as link_description,
    links.link_type,
    messages.list_id,
    messages.sent_at,
    links.places,
    cast(coalesce(links.clicks, clicks.clicks) as bigint) as clicks,
    coalesce(clicks.unique_clicks, cast(links.unique_clicks as bigint)) as unique_clicks,
    clicks.first_clicked_at,
    clicks.last_clicked_at
from clicks
full outer join links on clicks.message_id = links.message_id and clicks.link_url = links.link_url
left join {{ ref('stg_listrak__messages') }} as messages
    on coalesce(clicks.message_id, links.message_id) = messages.message_id
