//! The embedded engine (dynoxide), the HTTP layer in front of it, and sample data.
