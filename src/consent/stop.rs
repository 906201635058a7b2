//! Why a consent stops: the reasons, without the pages that show them.

use crate::name::ConnectionName;
use crate::provider::{ZOHO, table};

/// Why a consent stops. Each reason has a page; the log has what the operator has to know.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The link is damaged, or is not from this installation.
    NotOurs,
    /// The operator's link is past its end.
    Expired(ConnectionName),
    /// The redirect came too late.
    TooLate(ConnectionName),
    /// The consent began in another browser, or too long ago.
    OtherBrowser(ConnectionName),
    /// The user said no.
    Declined(ConnectionName),
    /// The provider does not accept one of the scopes.
    ScopeRefused {
        /// The connection.
        connection: ConnectionName,
        /// What was asked for: all scopes, because providers do not say which one is wrong.
        scopes: Vec<String>,
    },
    /// The provider sent the browser back with another error.
    SentBack(ConnectionName),
    /// This link was used already.
    AlreadyConnected(ConnectionName),
    /// The connection was changed after the link was made.
    Superseded(ConnectionName),
    /// The connection's secret is gone.
    Gone(ConnectionName),
    /// The redirect says that another server has sent it.
    OtherIssuer(ConnectionName),
    /// Redirect or answer lack a value that callers of the provider's API need.
    Incomplete {
        /// The connection.
        connection: ConnectionName,
        /// The value's name.
        missing: &'static str,
        /// Whether the new refresh token was revoked; `None` if the code was not spent.
        revoked: Option<bool>,
    },
    /// The redirect names an accounts server that is not in the table.
    UnknownDataCenter(ConnectionName),
    /// The account lives in another data centre than the one connected before.
    Moved {
        /// The connection.
        connection: ConnectionName,
        /// The data centre before.
        from: String,
        /// The account's.
        to: String,
    },
    /// It is another account than the one connected before.
    OtherAccount {
        /// The connection.
        connection: ConnectionName,
        /// Whether the new refresh token was revoked.
        revoked: bool,
    },
    /// The connection belongs to a known account, and Zoho did not say whose account this is.
    AccountUnknown {
        /// The connection.
        connection: ConnectionName,
        /// Whether the new refresh token was revoked.
        revoked: bool,
    },
    /// The operator has to fix a secret first.
    Misconfigured {
        /// The connection.
        connection: ConnectionName,
        /// What is wrong. It quotes no value.
        why: String,
    },
    /// The provider refuses the code: it is too old, or was used already.
    CodeRefused(ConnectionName),
    /// The answer had no refresh token.
    NoRefreshToken(ConnectionName),
    /// The provider gave no usable answer.
    ProviderOutOfOrder(ConnectionName),
    /// AWS gave no usable answer, and nothing was changed.
    StoreOutOfOrder,
    /// The new grant could not be stored.
    NotStored {
        /// The connection.
        connection: ConnectionName,
        /// Whether the new refresh token was revoked. If not, the grant may be stored after all.
        revoked: bool,
    },
}

/// A consent that has stopped.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why.
    pub why: Stop,
    /// The provider's name for people. Zoho's, if it is not known yet: then it does not matter.
    pub provider: &'static str,
}

impl Stopped {
    /// A consent at this provider.
    pub(super) fn at(provider: &'static str) -> impl Fn(Stop) -> Self {
        move |why| Self { why, provider }
    }
}

impl From<Stop> for Stopped {
    fn from(why: Stop) -> Self {
        Self { why, provider: table::title(ZOHO) }
    }
}

impl From<Stopped> for Stop {
    fn from(stopped: Stopped) -> Self {
        stopped.why
    }
}

impl Stop {
    /// A stable word for the log.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotOurs => "not_ours",
            Self::Expired(_) => "expired",
            Self::TooLate(_) => "too_late",
            Self::OtherBrowser(_) => "other_browser",
            Self::Declined(_) => "declined",
            Self::ScopeRefused { .. } => "scope_refused",
            Self::SentBack(_) => "sent_back_with_an_error",
            Self::AlreadyConnected(_) => "already_connected",
            Self::Superseded(_) => "superseded",
            Self::Gone(_) => "gone",
            Self::OtherIssuer(_) => "other_issuer",
            Self::Incomplete { .. } => "incomplete",
            Self::UnknownDataCenter(_) => "unknown_data_center",
            Self::Moved { .. } => "moved",
            Self::OtherAccount { .. } => "other_account",
            Self::AccountUnknown { .. } => "account_unknown",
            Self::Misconfigured { .. } => "misconfigured",
            Self::CodeRefused(_) => "code_refused",
            Self::NoRefreshToken(_) => "no_refresh_token",
            Self::ProviderOutOfOrder(_) => "provider_out_of_order",
            Self::StoreOutOfOrder => "store_out_of_order",
            Self::NotStored { .. } => "not_stored",
        }
    }

    /// The connection, if a signature has proved its name.
    pub fn connection(&self) -> Option<&ConnectionName> {
        match self {
            Self::NotOurs | Self::StoreOutOfOrder => None,
            Self::Expired(connection)
            | Self::TooLate(connection)
            | Self::OtherBrowser(connection)
            | Self::Declined(connection)
            | Self::SentBack(connection)
            | Self::AlreadyConnected(connection)
            | Self::Superseded(connection)
            | Self::Gone(connection)
            | Self::UnknownDataCenter(connection)
            | Self::OtherIssuer(connection)
            | Self::CodeRefused(connection)
            | Self::NoRefreshToken(connection)
            | Self::ProviderOutOfOrder(connection)
            | Self::ScopeRefused { connection, .. }
            | Self::OtherAccount { connection, .. }
            | Self::AccountUnknown { connection, .. }
            | Self::Moved { connection, .. }
            | Self::Incomplete { connection, .. }
            | Self::Misconfigured { connection, .. }
            | Self::NotStored { connection, .. } => Some(connection),
        }
    }
}
