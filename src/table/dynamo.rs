//! The AWS SDK adapter of [`super::Table`].
