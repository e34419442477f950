//! What the gateway tells those who run it, besides the audit trail: metrics, and what is built upon them.

mod metrics;
