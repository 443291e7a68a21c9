{# What is counted from events, where their streams are loaded, is what Listrak counts itself. #}
{{ config(severity=var('totals_severity')) }}
select
    campaigns.message_id,
    campaigns.unique_clicks,
    messages.clicker_count,
    campaigns.unsubscribes,
    messages.remove_count
from {{ ref('listrak__campaigns') }} as campaigns
inner join {{ ref('stg_listrak__messages') }} as messages on campaigns.message_id = messages.message_id
where campaigns.unique_clicks <> messages.clicker_count or campaigns.unsubscribes <> messages.remove_count
