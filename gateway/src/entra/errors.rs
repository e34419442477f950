//! AADSTS codes: what each means for the person who signs in and for the operator. One table.
//!
//! Microsoft asks not to branch on numbers, and nothing here does but the choice of words and the question whose move it
//! is. The text of Entra is never shown or passed on.

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// The number behind `AADSTS`.
    pub code: u32,
    /// For the person.
    pub user: &'static str,
    /// For the operator's log.
    pub operator: &'static str,
}

/// Whose move it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The person's, or their administrator's: the sign-in or the grant is over.
    Person,
    /// The operator's: it says nothing about the person, and a grant stays.
    Setup,
    /// Nobody's: it passes by itself, and a grant stays.
    Passing,
}

impl Advice {
    /// Whose move it is after this code came with this OAuth error.
    #[must_use]
    pub fn cause(&self, error: &str) -> Cause {
        match (self.user, error) {
            (LATER, _) | (_, "temporarily_unavailable" | "server_error") => Cause::Passing,
            (CONTACT, _) => Cause::Setup,
            (_, "access_denied" | "consent_required" | "interaction_required" | "invalid_grant" | "login_required") => {
                Cause::Person
            }
            // What is not known to be about the person ends nobody's grant, and signs nobody in either.
            _ => Cause::Setup,
        }
    }
}

const fn advice(code: u32, user: &'static str, operator: &'static str) -> Advice {
    Advice { code, user, operator }
}

const CONTACT: &str = "The gateway is not set up correctly. Please tell your administrator.";
const AGAIN: &str = "Please sign in again.";
const LATER: &str = "Microsoft Entra ID is busy. Please try again in a moment.";
const BLOCKED: &str = "Your organization's sign-in rules do not allow this. Please ask your administrator.";
const ASSIGN: &str = "Your account has no access to this application. Please ask your administrator for a role.";
const OTHER_ACCOUNT: &str = "This account belongs to another organization. Please choose another account.";

/// Every code with words of its own.
pub const TABLE: &[Advice] = &[
    advice(50011, CONTACT, "register exactly `<public_url>/auth/callback` as a redirect URI, platform Web"),
    advice(700_016, CONTACT, "the application was not found; check `entra.client_id` and `entra.tenant_id`"),
    advice(90002, CONTACT, "the tenant was not found; check `entra.tenant_id` and `entra.authority_host`"),
    advice(50194, CONTACT, "the application is single-tenant; make it multi-tenant, or leave `entra.tenants` out"),
    advice(7_000_215, CONTACT, "the client secret is wrong; use the secret's value, not its ID"),
    advice(7_000_222, CONTACT, "the client secret has expired; make a new one"),
    advice(
        7_000_218,
        CONTACT,
        "no credential was sent; configure one of `entra.client_secret_file`, `certificate`, `federated_token_file`",
    ),
    advice(700_027, CONTACT, "the assertion does not verify; upload `entra.certificate` to the app registration"),
    advice(700_025, CONTACT, "the redirect URI is registered as a public client; use the platform Web"),
    advice(50105, ASSIGN, "the user is not assigned to the application; assign a role under Enterprise applications"),
    advice(65001, "Your administrator has to consent to this application first.", "grant admin consent"),
    advice(90094, "Your administrator has to consent to this application first.", "grant admin consent"),
    advice(90095, "Your administrator has to approve this application first.", "approve the consent request"),
    advice(65004, "You declined the request.", "the user declined consent at Entra"),
    advice(650_053, CONTACT, "the scope does not exist; check `entra.scopes` and `entra.app_id_uri`"),
    advice(500_011, CONTACT, "the Application ID URI is unknown in this tenant; check `entra.app_id_uri`"),
    advice(70011, CONTACT, "the scope is not valid; check `entra.scopes`"),
    advice(28000, CONTACT, "the scopes belong to several resources; check `entra.scopes`"),
    advice(9_010_010, CONTACT, "a `resource` was sent; this is a bug in the gateway"),
    advice(901_002, CONTACT, "a `resource` was sent; this is a bug in the gateway"),
    advice(
        50020,
        OTHER_ACCOUNT,
        "the user is of another tenant; invite them as a guest, or list it in `entra.tenants`",
    ),
    advice(50034, OTHER_ACCOUNT, "the user does not exist in this tenant"),
    advice(16000, OTHER_ACCOUNT, "the user is of another tenant"),
    advice(
        90072,
        OTHER_ACCOUNT,
        "the user is of another tenant; invite them as a guest, or list it in `entra.tenants`",
    ),
    advice(50076, "Please sign in again; a second factor is needed.", "multi-factor authentication is needed"),
    advice(50079, "Please sign in again; a second factor has to be set up.", "multi-factor enrolment is needed"),
    advice(50074, "Please sign in again; a second factor is needed.", "strong authentication is needed"),
    advice(50072, "Please sign in again; a second factor has to be set up.", "multi-factor enrolment is needed"),
    advice(50078, "Please sign in again; a second factor is needed.", "multi-factor authentication has expired"),
    advice(53000, BLOCKED, "Conditional Access: the device is not compliant"),
    advice(53001, BLOCKED, "Conditional Access: the device is not joined"),
    advice(53003, BLOCKED, "Conditional Access blocked the sign-in"),
    advice(53004, BLOCKED, "Conditional Access: proof-up is blocked"),
    advice(53011, BLOCKED, "the user is blocked because of risk"),
    advice(530_032, BLOCKED, "blocked by a security policy"),
    advice(70008, AGAIN, "the code or refresh token has expired"),
    advice(700_082, AGAIN, "the refresh token was inactive too long"),
    advice(70043, AGAIN, "the sign-in frequency policy ended the refresh token"),
    advice(50173, AGAIN, "the grant was revoked"),
    advice(50089, AGAIN, "the flow token has expired"),
    advice(54005, AGAIN, "the code was redeemed before"),
    advice(501_481, AGAIN, "the PKCE verifier does not match"),
    advice(50147, AGAIN, "the PKCE challenge is missing"),
    advice(501_491, AGAIN, "the PKCE challenge is not valid"),
    advice(50196, AGAIN, "a client is looping"),
    advice(50058, AGAIN, "no session for a silent sign-in"),
    advice(90006, LATER, "Entra has a passing problem"),
    advice(90024, LATER, "Entra has a passing problem"),
    advice(90033, LATER, "Entra has a passing problem"),
    advice(90012, LATER, "Entra timed out"),
    advice(50000, LATER, "Entra has an internal problem"),
    advice(90015, CONTACT, "the query is too long"),
    advice(650_056, CONTACT, "the registration is incomplete; add the API permission and grant admin consent"),
    advice(700_022, CONTACT, "the scopes belong to several resources; check `entra.scopes`"),
    advice(700_024, CONTACT, "the assertion's time is off; check the clock"),
    advice(700_023, CONTACT, "the assertion's audience is wrong; check `entra.authority_host`"),
    advice(70021, CONTACT, "no federated credential fits; compare its issuer, subject and audience"),
    advice(700_211, CONTACT, "no federated credential has this issuer"),
    advice(700_212, CONTACT, "no federated credential has this audience"),
    advice(700_213, CONTACT, "no federated credential has this subject"),
    advice(90027, CONTACT, "personal accounts are not supported here; set `entra.tenant_id` to the tenant's GUID"),
    advice(90124, CONTACT, "the endpoint is for work accounts; set `entra.tenant_id` to the tenant's GUID"),
    advice(90130, CONTACT, "the application is not known there; set `entra.tenant_id` to the tenant's GUID"),
    advice(90009, CONTACT, "the application asks for a token for itself; check `entra.app_id_uri` and `entra.scopes`"),
    advice(90038, CONTACT, "the tenant lives in another cloud; check `entra.authority_host`"),
    advice(900_382, CONTACT, "the tenant lives in another cloud; check `entra.authority_host`"),
    advice(900_432, CONTACT, "the application lives in another cloud; check `entra.authority_host`"),
    advice(700_229, CONTACT, "only app-only tokens can be federated credentials; check `entra.federated_token_file`"),
    advice(50013, CONTACT, "the token to exchange does not verify; check `backends.*.on_behalf_of` and the cloud"),
    advice(500_131, CONTACT, "the token to exchange is for another application; check `entra.app_id_uri`"),
    advice(500_133, AGAIN, "the token to exchange has expired"),
    advice(9_001_023, CONTACT, "the grant type is not supported there; set `entra.tenant_id` to the tenant's GUID"),
];

/// What to say when a code has no words of its own.
pub const UNKNOWN: Advice =
    advice(0, "Signing in failed. Please try again, or ask your administrator.", "look the code up at Microsoft");

/// The words for a code.
#[must_use]
pub fn find(code: u32) -> Advice {
    TABLE.iter().find(|advice| advice.code == code).copied().unwrap_or(Advice { code, ..UNKNOWN })
}

/// What a person is told who is of a directory that does not sign in here, whoever finds that out.
#[must_use]
pub fn other_account() -> &'static str {
    OTHER_ACCOUNT
}

/// Whether there are words for this number.
#[must_use]
pub fn has_advice(code: u32) -> bool {
    TABLE.iter().any(|advice| advice.code == code)
}

/// The AADSTS number in a description; 0 when there is none.
#[must_use]
pub fn code(description: &str) -> u32 {
    let digits = description.split_once("AADSTS").map_or("", |(_, rest)| rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end).and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_in_the_text() {
        assert_eq!(code("AADSTS50105: Your administrator has configured… Trace ID: x"), 50105);
        assert_eq!(code("AADSTS7000215:\r\nInvalid"), 7_000_215);
        assert_eq!(code("nothing here"), 0);
        assert_eq!(code("AADSTS99999999999999"), 0);
    }

    #[test]
    fn every_code_is_there_once_and_tells_both_what_to_do() {
        for advice in TABLE {
            assert_eq!(TABLE.iter().filter(|other| other.code == advice.code).count(), 1, "{}", advice.code);
            assert!(!advice.user.is_empty() && !advice.operator.is_empty());
        }
        assert_eq!(find(1).user, UNKNOWN.user);
    }

    #[test]
    fn the_words_can_stand_in_an_error_description() {
        let allowed = |c: char| matches!(c, ' '..='~') && c != '"' && c != '\\';
        for advice in TABLE.iter().chain([&UNKNOWN]) {
            assert!(advice.user.chars().all(allowed), "RFC 6749 section 4.1.2.1: {}", advice.user);
        }
    }

    #[test]
    fn every_code_that_microsoft_documents_for_sign_ins_has_words() {
        let documented = [
            50011, 700_016, 90002, 50194, 7_000_215, 7_000_222, 7_000_218, 700_027, 700_024, 700_023, 70021, 700_211,
            700_212, 700_213, 700_025, 50105, 65001, 90094, 90095, 65004, 650_053, 500_011, 70011, 28000, 700_022,
            9_010_010, 901_002, 50020, 50034, 16000, 90072, 90009, 90038, 900_382, 900_432, 700_229, 50013, 500_131,
            500_133, 50076, 50079, 50074, 50072, 50078, 53000, 53001, 53003, 530_032, 53004, 53011, 70008, 700_082,
            70043, 50173, 50089, 54005, 501_481, 50147, 501_491, 50196, 90006, 90024, 90033, 90012, 50000, 90015,
            50058, 90027, 90124, 90130, 9_001_023, 650_056,
        ];
        let missing: Vec<u32> = documented.into_iter().filter(|code| find(*code).user == UNKNOWN.user).collect();
        assert_eq!(missing, [0; 0]);
    }

    #[test]
    fn a_grant_ends_by_what_is_said_of_the_person_and_by_nothing_else() {
        let cause = |error: &str, code| find(code).cause(error);
        assert_eq!(cause("invalid_grant", 50173), Cause::Person);
        assert_eq!(cause("interaction_required", 50076), Cause::Person);
        assert_eq!(cause("invalid_grant", 0), Cause::Person);
        assert_eq!(cause("invalid_grant", 90033), Cause::Passing);
        assert_eq!(cause("temporarily_unavailable", 0), Cause::Passing);
        assert_eq!(cause("invalid_client", 7_000_222), Cause::Setup);
        assert_eq!(cause("invalid_client", 0), Cause::Setup);
        assert_eq!(cause("invalid_target", 9_010_010), Cause::Setup);
        assert_eq!(cause("unheard_of", 50173), Cause::Setup);
    }
}
