//! What is known of one feed from moment to moment, without any input or output of its own.
//!
//! | module | what lives there |
//! |---|---|
//! | [`liveness`] | whether buffers arrive, time advances and the picture changes |
//! | [`machine`] | the states of a channel, and when its source is opened and closed |
//! | [`ledger`] | what each moment of a channel counts as |
//! | [`incident`] | alerts and outages, made into incidents |
//! | [`threshold`] | what another threshold would have done |
//! | [`clip`] | which parts of the feed are kept as evidence of an incident |

pub mod clip;
pub mod incident;
pub mod ledger;
pub mod liveness;
pub mod machine;
pub mod threshold;
