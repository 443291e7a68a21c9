"""The columns and keys of the published integration, which the tap has to give."""

from __future__ import annotations

# The tables of the published integration: by type, their columns.
REFERENCE = {
    "lists": {
        "integer": "BounceUnsubscribeCount ListID bounceHandling",
        "date-time": "CreateDate",
        "string": "DomainAliasEmail DomainAliasLink FromEmail FromName ListName",
        "boolean": "EnableBrowserLink EnableDoubleOptin EnableDynamicContent EnableGoogleAnalytics "
        "EnableInternationalization EnableListHygiene EnableListRemoveHeader EnableRSS "
        "EnableRemovalLink ShowAdvancedPersonalization ShowEmailList",
        "array": "GoogleTrackingDomains",
        "object": "Vmta",
    },
    "messages": {
        "integer": "ClickCount ClickerCount ConversionCount DeliverCount ListID MsgID "
        "NewClickerCount OpenCount ReadCount RemoveCount RepeatClickerCount",
        "number": "AverageOrderValue ClickerPercent OpenPercent OrderTotal ReadPercent "
        "RemovePercent",
        "date-time": "SendDate",
        "string": "Subject",
    },
    "message_sends": {"integer": "MsgID", "string": "EmailAddress"},
    "message_opens": {"integer": "MsgID", "string": "ContactID EmailAddress OpenDate"},
    "message_clicks": {
        "integer": "MsgID",
        "string": "ClickDate ContactID EmailAddress LinkDescription LinkUrl",
    },
    "message_reads": {"integer": "MsgID", "string": "ContactID EmailAddress ReadDate"},
    "message_bounces": {
        "integer": "BounceCount MsgID",
        "string": "BounceDate BounceDetail BounceReason ContactID EmailAddress",
    },
    "message_unsubs": {
        "integer": "MsgID",
        "string": "AdditionDate ContactID EmailAddress RemovalDate RemovalMethod",
    },
    "subscribed_contacts": {
        "integer": "ListID",
        "date-time": "AdditionDate",
        "string": "AdditionMethod ContactID EmailAddress",
    },
}
COLUMNS = {
    stream: {column: kind for kind, columns in kinds.items() for column in columns.split()}
    for stream, kinds in REFERENCE.items()
}
KEYS = {
    "lists": ["ListID"],
    "messages": ["MsgID"],
    "subscribed_contacts": ["ContactID", "ListID"],
    **{
        f"message_{event}": ["MsgID", "EmailAddress"]
        for event in ("sends", "opens", "clicks", "reads", "bounces", "unsubs")
    },
}
