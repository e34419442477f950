//! What must not be skipped does not compile.

#[test]
fn an_identity_is_made_by_verification_only() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
