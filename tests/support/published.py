"""List the columns and keys that the tap must emit, of the published and all other streams."""

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


def columns_of(tables: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The type of each column, by table."""
    return {
        table: {column: kind for kind, columns in kinds.items() for column in columns.split()}
        for table, kinds in tables.items()
    }


COLUMNS = columns_of(REFERENCE)
KEYS = {
    "lists": ["ListID"],
    "messages": ["MsgID"],
    "subscribed_contacts": ["ContactID", "ListID"],
    **{
        f"message_{event}": ["MsgID", "EmailAddress"]
        for event in ("sends", "opens", "clicks", "reads", "bounces", "unsubs")
    },
}

# The tables beyond the published ones, in the same form.
FURTHER = {
    "list_unsubs": {
        "integer": "ListID",
        "date-time": "AdditionDate RemovalDate",
        "string": "ContactID EmailAddress RemovalMethod",
    },
    "list_hygiene": {
        "integer": "ListID",
        "date-time": "AddDate HygieneDate",
        "string": "ContactID EmailAddress OldEmailAddress",
    },
    "imports": {
        "integer": "AlreadySubscribedCount AlreadyUnsubscribedCount BannedCount FileSize "
        "ImportFileID InvalidEmailCount ListID PreviouslyUnsubscribedCount ProcessedCount "
        "SkippedCount SubscribedCount SuppressedCount UnSubscribedCount",
        "date-time": "EndDate StartDate",
        "string": "FileName ImportSource ImportType ProfileImportType",
    },
    "campaigns": {"integer": "CampaignID ListID MessageCount", "string": "Name"},
    "transactional_messages": {"integer": "ListID TransactionalMsgID", "string": "MessageName"},
    "saved_messages": {
        "integer": "ListID SavedMsgID",
        "date-time": "CreateDate ModifiedDate",
        "string": "SavedName",
    },
    "message_deliveries": {
        "integer": "BounceCount DeliverCount ListID MsgID PassAlongCount",
        "number": "BouncePercent DeliverPercent",
        "date-time": "SendDate",
        "string": "Subject",
    },
    "message_analytics": {
        "integer": "CampaignID ListID MsgID",
        "date-time": "SendDate",
        "string": "CampaignName GoogleAnalyticsCampaignContent GoogleAnalyticsCampaignName "
        "ListrakAnalyticsCampaignName ListrakAnalyticsModuleName ListrakAnalyticsVersion Subject",
    },
    "message_links": {
        "integer": "ClickCount ClickerCount LinkID MsgID",
        "number": "ClickPercent",
        "string": "LinkDescription LinkType LinkURL",
    },
    "message_location_opens": {
        "integer": "CountryID MsgID OpenCount RegionID",
        "string": "CountryName RegionName",
    },
    "message_location_reads": {
        "integer": "CountryID MsgID ReadCount RegionID",
        "string": "CountryName RegionName",
    },
    "message_location_clicks": {
        "integer": "CountryID MsgID ClickCount RegionID",
        "string": "CountryName RegionName",
    },
    "message_passalongs": {
        "integer": "MsgID",
        "date-time": "PassAlongDate",
        "string": "FromContactID FromEmailAddress FromName ToContactID ToEmailAddress ToName",
    },
    "conversations": {
        "integer": "CampaignID ClickCount ContactCount ConversationID ConversionCount DeliverCount "
        "ListID OpenCount ReadCount RemoveCount TerminatedCount WaitingCount",
        "number": "AverageOrderValue OpenRate OrderTotal ReadRate RemoveRate",
        "date-time": "PublishedDate",
        "string": "CampaignName ConversationName",
    },
    "conversation_deliveries": {
        "integer": "BounceCount CampaignID ConversationID DeliverCount ListID PassAlongCount "
        "SendCount",
        "number": "BounceRate DeliverRate",
        "date-time": "PublishedDate",
        "string": "CampaignName ConversationName",
    },
    "conversation_links": {
        "integer": "ClickCount ClickerCount ConversationID LinkID MsgID SendCount",
        "number": "ClickPercent",
        "string": "LinkDescription LinkURL Subject Type",
    },
    "conversation_sends": {
        "integer": "ConversationID MsgID",
        "date-time": "SendDate",
        "string": "ContactID EmailAddress Subject",
    },
    "conversation_opens": {
        "integer": "ConversationID MsgID",
        "date-time": "OpenDate",
        "string": "ContactID EmailAddress Subject",
    },
    "conversation_reads": {
        "integer": "ConversationID MsgID",
        "date-time": "ReadDate",
        "string": "ContactID EmailAddress Subject",
    },
    "conversation_bounces": {
        "integer": "BounceCount ConversationID MsgID",
        "date-time": "BounceDate",
        "string": "BounceDetail BounceReason ContactID EmailAddress Subject",
    },
    "conversation_unsubs": {
        "integer": "ConversationID MsgID",
        "date-time": "AddDate RemoveDate",
        "string": "ContactID EmailAddress RemoveMethod Subject",
    },
    "complaints": {
        "integer": "CampaignID ListID MessageID",
        "date-time": "AbuseDate",
        "string": "CampaignName ContactID EmailAddress ISPName ListName MessageSubject",
    },
}
FURTHER_KEYS = {
    "list_unsubs": ["ContactID", "ListID", "RemovalDate"],
    "list_hygiene": ["ContactID", "ListID", "HygieneDate"],
    "imports": ["ImportFileID"],
    "campaigns": ["CampaignID"],
    "transactional_messages": ["ListID", "TransactionalMsgID"],
    "saved_messages": ["ListID", "SavedMsgID"],
    "message_deliveries": ["MsgID"],
    "message_analytics": ["MsgID"],
    "message_links": ["MsgID", "LinkID"],
    "message_location_opens": ["MsgID", "CountryID", "RegionID"],
    "message_location_reads": ["MsgID", "CountryID", "RegionID"],
    "message_location_clicks": ["MsgID", "CountryID", "RegionID"],
    "message_passalongs": ["MsgID", "FromEmailAddress", "ToEmailAddress", "PassAlongDate"],
    "conversations": ["ConversationID"],
    "conversation_deliveries": ["ConversationID"],
    "conversation_links": ["ConversationID", "MsgID", "LinkID"],
    "conversation_sends": ["ConversationID", "MsgID", "EmailAddress", "SendDate"],
    "conversation_opens": ["ConversationID", "MsgID", "EmailAddress", "OpenDate"],
    "conversation_reads": ["ConversationID", "MsgID", "EmailAddress", "ReadDate"],
    "conversation_bounces": ["ConversationID", "MsgID", "EmailAddress", "BounceDate"],
    "conversation_unsubs": ["ConversationID", "MsgID", "EmailAddress", "RemoveDate"],
    "complaints": ["ListID", "MessageID", "EmailAddress", "AbuseDate"],
}
ALL_COLUMNS = COLUMNS | columns_of(FURTHER)
ALL_KEYS = KEYS | FURTHER_KEYS
