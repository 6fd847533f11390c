def item_of_document(document):
    """Returns the flag of your flag service, a JSON document, in DynamoDB's format. `parse` refuses unknown values."""
    def value(member):
        if isinstance(member, bool):
            return {"BOOL": member}
        return {"N": str(member)} if isinstance(member, (int, float)) else {"S": member}

    return {name: value(member) for name, member in document.items()} if document else None
