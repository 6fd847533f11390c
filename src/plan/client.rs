//! Reads `[client]`, which selects the client library that sends requests.

use super::diagnostic::Problems;
use super::fields::Fields;
use super::section::section;

/// `[client]`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// The client library that reads the table and writes the items.
    pub dynamodb: DynamoClient,
}

/// A client for DynamoDB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DynamoClient {
    /// The AWS SDK sends every request.
    #[default]
    Sdk,
    /// The lean client sends `Scan`, `UpdateItem` and `BatchExecuteStatement`. The AWS SDK sends every other request.
    Lean,
}

/// Reads `[client]`.
pub(super) fn read(root: &Fields<'_, '_>, problems: &mut Problems) -> ClientOptions {
    let fields = section(root, "client", "[client]", &["dynamodb"], None, problems);
    let clients = [("sdk", DynamoClient::Sdk), ("lean", DynamoClient::Lean)];
    ClientOptions {
        dynamodb: fields.and_then(|fields| fields.choice("dynamodb", &clients, problems)).unwrap_or_default(),
    }
}
