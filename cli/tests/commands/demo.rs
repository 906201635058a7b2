//! Runs the demo, and checks that the README shows what the demo prints.

#[path = "../../examples/demo.rs"]
#[expect(dead_code, reason = "only the example calls main")]
mod tour;

const README: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md"));

#[tokio::test]
async fn the_demo_tells_the_whole_story_and_the_readme_shows_its_document() {
    let text = tour::tour().await;
    for line in [
        "  crm-prod   active            [==========] 60 min    refreshed         one request to Zoho",
        "  books      active            [==========] 60 min    fresh             Zoho not asked",
        "  desk       consent_required  [===       ] 20 min    consent_required  one request to Zoho",
        "  campaigns  throttled         [===       ] 20 min    throttled         one request to Zoho",
        "  inventory  misconfigured     none                   misconfigured     one request to Zoho",
        "  people     -                 none                   awaiting_consent  Zoho not asked",
        "Calls made: 1 BatchGetSecretValue, 1 GetParametersByPath, 0 token requests to Zoho, 0 PutParameter.",
        "The administrator opens the link, agrees at Zoho, and sees: Connected",
        "  desk       active            [==========] 60 min",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    let document = README.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a document");
    assert!(text.contains(document), "{document}\nis not in\n{text}");
}
