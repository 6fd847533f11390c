//! Creates on-demand backups with the AWS SDK.

use aws_sdk_dynamodb::types::BackupStatus as SdkStatus;

use super::DynamoTable;
use super::classify::{Call, classify, unusable_reply};
use crate::dynamodb::{BackupStatus, TableError};

impl DynamoTable {
    /// Requests a backup and returns its ARN.
    pub(super) async fn request_backup(&self, name: &str) -> Result<String, TableError> {
        let sent =
            self.connection.send(|client| client.create_backup().table_name(&self.name).backup_name(name).send()).await;
        let reply = sent.map_err(|error| classify(&error, Call::CreateBackup))?;
        let arn = reply.backup_details().map(|backup| backup.backup_arn().to_owned());
        arn.ok_or_else(|| unusable_reply("CreateBackup named no backup"))
    }

    /// Reads the status of a backup.
    pub(super) async fn read_backup_status(&self, arn: &str) -> Result<BackupStatus, TableError> {
        let sent = self.connection.send(|client| client.describe_backup().backup_arn(arn).send()).await;
        let reply = sent.map_err(|error| classify(&error, Call::DescribeBackup))?;
        let details = reply.backup_description().and_then(|backup| backup.backup_details());
        match details.map(|backup| backup.backup_status()) {
            Some(SdkStatus::Available) => Ok(BackupStatus::Available),
            Some(SdkStatus::Creating) => Ok(BackupStatus::Creating),
            Some(SdkStatus::Deleted) => Ok(BackupStatus::Deleted),
            Some(_) | None => Err(unusable_reply("DescribeBackup gave no known status")),
        }
    }
}
