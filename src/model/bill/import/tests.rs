use proptest::prelude::*;

use super::*;
use crate::model::bill::{BillLine, Charge, PricedKind, Standing};
use crate::model::money::PicoUsd;
use crate::model::price::EMBEDDED;
use crate::model::usage::Tier;

/// A day after which October is final.
const NOW: &str = "2026-11-22T06:00:00Z";

fn import(format: Format, text: &str) -> Result<Imported, String> {
    let names = ModelNames::default();
    let prices = PriceTable::parse(EMBEDDED).unwrap();
    let terms = Terms {
        names: &names,
        prices: &prices,
        now: NOW.parse().unwrap(),
    };
    read(format, text.as_bytes(), &terms).map_err(|error| error.to_string())
}

fn refused(format: Format, text: &str) -> String {
    import(format, text).expect_err("this file is wrong")
}

fn lines(imported: &Imported) -> Vec<&BillLine> {
    imported.days.iter().flat_map(|day| &day.lines).collect()
}

/// Unblended cost of a line in micro-units.
fn micros(line: &BillLine) -> i128 {
    line.amounts.unblended.unwrap().0 / 1_000_000
}

const CUR: &str = "bill_payer_account_id,line_item_usage_account_id,bill_invoice_id,\
    line_item_usage_start_date,line_item_line_item_type,line_item_usage_type,\
    line_item_usage_amount,line_item_currency_code,line_item_unblended_cost,\
    line_item_net_unblended_cost,line_item_blended_cost,pricing_unit,product,\
    line_item_line_item_description,line_item_iam_principal,line_item_resource_id\n";

/// A row of the export: date and hour, type, usage type, amount, cost, user.
fn cur_row(at: &str, kind: &str, usage_type: &str, numbers: [&str; 2], user: &str) -> String {
    let [amount, cost] = numbers;
    let product = r#""{""product_name"":""Claude Sonnet 4.6 (Amazon Bedrock Edition)""}""#;
    format!(
        "111122223333,444455556666,INV1,{at},{kind},{usage_type},{amount},USD,{cost},{cost},0,\
         Units,{product},,{user},\n"
    )
}

#[test]
fn an_export_of_aws_is_added_up_by_day_usage_type_and_person() {
    let ada = "arn:aws:sts::444455556666:assumed-role/Developer/ada";
    let input = "USE1-MP:USE1_InputTokenCount-Units";
    let text = [
        CUR,
        &cur_row(
            "2026-10-05T00:00:00.000Z",
            "Usage",
            input,
            ["1.5", "4.5"],
            ada,
        ),
        &cur_row(
            "2026-10-05T13:00:00.000Z",
            "Usage",
            input,
            ["0.5", "1.5"],
            ada,
        ),
        &cur_row("2026-10-05T13:00:00.000Z", "Usage", input, ["1", "3"], ""),
        &cur_row(
            "2026-10-05T00:00:00.000Z",
            "Credit",
            input,
            ["0", "-2.0000000000001"],
            "",
        ),
        &cur_row("2026-10-05T00:00:00.000Z", "Tax", "", ["0", "0.7"], ""),
        "111122223333,111122223333,,2026-10-06T00:00:00Z,Usage,USE1-BoxUsage:t3.micro,1,USD,9,9,9,\
         Hrs,,,,\n",
    ]
    .concat();
    let imported = import(Format::Aws, &text).unwrap();
    let told: Vec<_> = lines(&imported)
        .into_iter()
        .map(|line| (line.charge, line.user.as_deref(), micros(line), line.tokens))
        .collect();
    let mut expected = vec![
        (Charge::Tokens, None, 3_000_000, Some(1_000_000)),
        (Charge::Tokens, Some(ada), 6_000_000, Some(2_000_000)),
        (Charge::Credit, None, -2_000_000, None),
        (Charge::Tax, None, 700_000, None),
    ];
    let mut sorted = told.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(
        (imported.rows, imported.left_out, imported.rounded),
        (6, 1, 2)
    );
    let days: Vec<_> = imported
        .days
        .iter()
        .map(|day| {
            (
                day.day.to_string(),
                &*day.account,
                day.lines.len(),
                day.standing(),
            )
        })
        .collect();
    assert_eq!(
        days,
        [
            ("2026-10-05".to_owned(), "111122223333", 4, Standing::Final),
            // A day of which only others are billed is a day without cost; no invoice yet.
            (
                "2026-10-06".to_owned(),
                "111122223333",
                0,
                Standing::Provisional
            ),
        ]
    );
    let line = lines(&imported)
        .into_iter()
        .find(|line| line.user.is_some())
        .unwrap();
    assert_eq!(
        (
            &*line.account,
            line.sku.model.as_deref(),
            line.sku.kind,
            &*line.quantity,
            &*line.unit
        ),
        (
            "444455556666",
            Some("claude-sonnet-4-6"),
            Some(PricedKind::Input),
            "2",
            "Units"
        )
    );
    assert_eq!(
        import(Format::Aws, &text).unwrap(),
        imported,
        "the same file, the same days"
    );
}

#[test]
fn several_files_of_aws_with_marks_and_old_names_are_one() {
    let header = "\u{feff}bill/PayerAccountId,lineItem/UsageStartDate,lineItem/LineItemType,\
        lineItem/UsageType,lineItem/UsageAmount,lineItem/CurrencyCode,lineItem/UnblendedCost,\
        lineItem/LineItemDescription,product/servicecode\n";
    let row = "1111,2026-10-05T00:00:00Z,Usage,USE1-MP:USE1_OutputTokenCount-Units,1,USD,15,\
        AWS Marketplace software usage|us-east-1|Claude Sonnet 4.6 (Amazon Bedrock Edition) Output,\
        x\n";
    let text = [header, row, "\n", header, row].concat();
    let imported = import(Format::Aws, &text).unwrap();
    let line = lines(&imported)[0];
    assert_eq!(
        (
            lines(&imported).len(),
            micros(line),
            line.tokens,
            imported.rows
        ),
        (1, 30_000_000, Some(2_000_000), 2)
    );
}

#[test]
fn googles_export_is_read_with_credits_apart() {
    let text = "billing_account_id,service.description,sku.description,usage_start_time,\
        project.id,location.region,cost,currency,usage.amount_in_pricing_units,\
        usage.pricing_unit,credits_amount,cost_type\n\
        01A-02B,Vertex AI,Claude Sonnet 4.5 Output Tokens,2026-11-20 07:00:00 UTC,dev-1,europe-west1,\
        16.5,EUR,1,1000000 tokens,-1.5,regular\n\
        01A-02B,Vertex AI,Gemini 2.5 Pro Input Tokens,2026-11-20 07:00:00 UTC,dev-1,global,\
        1,EUR,1,x,,regular\n";
    let imported = import(Format::Vertex, text).unwrap();
    let told: Vec<_> = lines(&imported)
        .into_iter()
        .map(|line| {
            (
                line.charge,
                micros(line),
                line.tokens,
                &*line.currency,
                &*line.account,
            )
        })
        .collect();
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(
        sorted,
        [
            (Charge::Tokens, 16_500_000, Some(1_000_000), "EUR", "dev-1"),
            (Charge::Credit, -1_500_000, None, "EUR", "dev-1"),
        ]
    );
    let sku = &lines(&imported)[0].sku;
    assert_eq!(
        (
            sku.model.as_deref(),
            sku.region.as_deref(),
            imported.left_out
        ),
        (Some("claude-sonnet-4-5"), Some("europe-west1"), 1)
    );
}

#[test]
fn anthropics_cents_become_dollars() {
    let text = r#"{"data": [{
        "starting_at": "2026-11-20T00:00:00Z", "ending_at": "2026-11-21T00:00:00Z",
        "results": [
            {"currency": "USD", "amount": "123.45", "workspace_id": "wrkspc_1",
             "description": "Claude Sonnet 4.5 Usage - Input Tokens", "cost_type": "tokens",
             "context_window": "200k-1M", "model": "claude-sonnet-4-5-20250929",
             "service_tier": "batch", "token_type": "uncached_input_tokens"},
            {"currency": "USD", "amount": "0.00000000001", "workspace_id": null,
             "description": "Claude Sonnet 4.5 Usage - Output Tokens"},
            {"currency": "USD", "amount": "10", "workspace_id": null,
             "description": "Web Search Usage", "cost_type": "web_search"},
            {"currency": "USD", "amount": "77", "workspace_id": null}
        ]}], "has_more": false, "next_page": null}"#;
    let imported = import(Format::Anthropic, text).unwrap();
    let mut told: Vec<_> = lines(&imported)
        .into_iter()
        .map(|line| {
            let pico = line.amounts.unblended.unwrap().0;
            (
                line.charge,
                pico,
                &*line.account,
                line.sku.kind,
                line.sku.tier,
            )
        })
        .collect();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            (
                Charge::Tokens,
                0,
                "default",
                Some(PricedKind::Output),
                Tier::Standard
            ),
            (
                Charge::Tokens,
                1_234_500_000_000,
                "wrkspc_1",
                Some(PricedKind::Input),
                Tier::Batch
            ),
            (
                Charge::OtherUsage,
                100_000_000_000,
                "default",
                None,
                Tier::Standard
            ),
            (
                Charge::Unclassified,
                770_000_000_000,
                "default",
                None,
                Tier::Standard
            ),
        ]
    );
    assert_eq!(imported.rounded, 1);
    assert!(lines(&imported).iter().any(|line| line.sku.long_context));
}

#[test]
fn analytics_of_enterprises_name_persons_and_are_not_final_for_a_month() {
    let page = |day: &str| {
        format!(
            r#"{{"data": [{{"starting_at": "{day}T00:00:00Z", "results": [
                {{"amount": "12.345678", "list_amount": "15", "model": "claude-opus-4-8",
                  "token_type": "output_tokens", "actor": {{"email": "ada@example.com"}}}}]}}],
              "data_refreshed_at": "2026-11-21T20:00:00Z"}}"#
        )
    };
    let text = [page("2026-10-01"), page("2026-11-01")].join("\n");
    let imported = import(Format::Anthropic, &text).unwrap();
    let told: Vec<_> = imported
        .days
        .iter()
        .map(|day| {
            (
                day.estimated,
                day.lines[0].user.as_deref(),
                micros(&day.lines[0]),
            )
        })
        .collect();
    let ada = Some("ada@example.com");
    assert_eq!(told, [(false, ada, 123_456), (true, ada, 123_456)]);
}

#[test]
fn the_own_format_tells_everything_that_a_line_can_hold() {
    let text = "day,provider,account,charge,model,kind,tier,user,quantity,unit,tokens,currency,\
        unblended,net,estimated\n\
        2026-10-05,Bedrock,1111,,Claude Sonnet 4.6,input,batch,ada,2,MTok,2000000,USD,6,5.5,\n\
        2026-10-05,bedrock,1111,fee,,,,,,,,USD,-1,,\n\
        2026-10-05,bedrock,1111,,,,,,,,,JPY,120,,true\n";
    let imported = import(Format::Csv, text).unwrap();
    let mut told: Vec<_> = lines(&imported)
        .into_iter()
        .map(|line| {
            (
                line.charge,
                micros(line),
                line.tokens,
                &*line.currency,
                line.amounts.net,
            )
        })
        .collect();
    told.sort_unstable_by_key(|line| line.0);
    assert_eq!(
        told,
        [
            (
                Charge::Tokens,
                6_000_000,
                Some(2_000_000),
                "USD",
                Some(PicoUsd(5_500_000_000_000))
            ),
            (Charge::Fee, -1_000_000, None, "USD", None),
            (Charge::Unclassified, 120_000_000, None, "JPY", None),
        ]
    );
    assert_eq!((imported.days.len(), imported.days[0].estimated), (1, true));
}

#[test]
fn what_is_wrong_is_told_with_line_and_column() {
    let csv = |row: &str| {
        refused(
            Format::Csv,
            &format!("day,provider,currency,unblended\n{row}\n"),
        )
    };
    let told = [
        refused(Format::Csv, ""),
        refused(Format::Csv, "day,provider,currency\n"),
        refused(Format::Csv, "day;provider;currency;unblended\n"),
        refused(Format::Csv, "day,provider,currency,unblended,price\n"),
        csv("2026-10-05,bedrock,USD,\"1,234.50\""),
        csv("2026-10-05,bedrock,USD,\"1.234,50\""),
        csv("2026-10-05,bedrock,USD,x12"),
        csv("2026-10-05,bedrock,USD,"),
        csv("05.10.2026,bedrock,USD,1"),
        csv("2026-10-05,bedrock,dollars,1"),
        csv("2026-10-05,bedrock,USD"),
        csv("2026-10-05,bedrock,USD,99999999999999999999999999999999999"),
        refused(
            Format::Csv,
            "day,provider,currency,unblended,kind\n2026-10-05,bedrock,USD,1,inputs\n",
        ),
        refused(Format::Aws, "identity_line_item_id,bill_payer_account_id\n"),
        refused(Format::Anthropic, "{\n\"data\": [}"),
        refused(Format::Anthropic, "{\"results\": []}"),
        refused(
            Format::Anthropic,
            "[{\"data\": []}, {\"data\": [], \"has_more\": true}]",
        ),
        refused(
            Format::Anthropic,
            "{\"data\": [{\"starting_at\": \"2026-11-20\", \"results\": [{\"amount\": \"1,5\"}]}]}",
        ),
        refused(Format::Anthropic, " "),
    ];
    let comma = "write numbers without thousands separators, with a point for decimals";
    assert_eq!(
        told,
        [
            "the file is empty",
            "line 1: the header lacks unblended; it begins with day, provider, currency",
            "line 1: the header lacks day, provider, currency, unblended; it begins with \
             day;provider;currency;unblended",
            "line 1, price: is no column of this format; it knows day, provider, account, \
             line_account, charge, model, kind, scope, region, tier, long_context, service, \
             usage_type, user, quantity, unit, tokens, currency, unblended, net, blended, estimated",
            &format!("line 2, unblended: `1,234.50` has a comma; {comma}"),
            &format!("line 2, unblended: `1.234,50` has a comma; {comma}"),
            "line 2, unblended: `x12` is no number: `x` does not belong in a decimal number",
            "line 2, unblended: is empty",
            "line 2, day: `05.10.2026` is no date such as 2026-11-22",
            "line 2, currency: `dollars` is no ISO 4217 code such as USD",
            "line 2: has 3 cells where the header has 4",
            "line 2, unblended: `99999999999999999999999999999999999` is no number: the number is \
             too large",
            "line 2, kind: `inputs` is not one of input, output, cache_read, cache_write_5m, \
             cache_write_1h, cache_write_unknown",
            "line 1: the header lacks line_item_usage_start_date, line_item_line_item_type, \
             line_item_usage_type, line_item_usage_amount, line_item_currency_code, \
             line_item_unblended_cost; it begins with identity_line_item_id, bill_payer_accoun",
            "line 2: is no JSON: expected value at line 2 column 10",
            "data: is missing; this must be the answer of Anthropic's cost report",
            "pages[1].has_more: is true: the report has further pages; ask for them with next_page \
             and put them into the file, too",
            "data[0].results[0].amount: `1,5` is no amount: `,` does not belong in a decimal number",
            "the file is empty",
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_file_upsets_the_reader(
        text in "\\PC{0,80}|[{}\\[\\]\":,a-z0-9. \n]{0,80}",
        cells in prop::collection::vec("[-0-9.,eE]{0,20}|\\PC{0,20}", 4),
    ) {
        let row = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
        let row = row.collect::<Vec<_>>().join(",");
        let table = format!("day,provider,currency,unblended\n{row}\n");
        for format in Format::ALL {
            // It ends, with days or with an error that can be shown.
            let _ = import(format, &text);
            let _ = import(format, &table);
        }
    }
}
