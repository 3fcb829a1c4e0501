//! The policies that a job needs, from its flags alone: nobody is asked, nothing is changed.
//!
//! ```text
//! job ──needs──▶ actions, each with its reason ──documents──▶ policies, each with its account ──▶ templates
//!        ▲
//!    actions.csv
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`actions`] | which IAM actions a request takes: `actions.csv`, read |
//! | [`needs`] | which requests a job sends, and so what it must be allowed |
//! | [`document`] | statements and policies, and how one goes into another |
//! | [`documents`] | which policies allow that, on what, in which account |
//! | [`cloudformation`] | the same as one template an account |

pub mod actions;
pub mod cloudformation;
pub mod document;
pub mod documents;
pub mod needs;
