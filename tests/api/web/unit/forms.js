import { parseEvents } from "/model/event_stream.js";
import { actionsOf, matches } from "/model/lifecycle.js";
import { distillationProgress, searchProgress, trainingProgress } from "/model/progress.js";
import { bodySchema, errorsByField, fieldsOf, valueOf } from "/model/schema.js";
import { fromYaml, toYaml, withField } from "/model/spec_text.js";
import { cloned, extendedPool } from "/model/templates.js";
import { href, parseRoute } from "/router.js";
import { equal } from "./equal.js";

export function yaml_becomes_a_spec_and_back() {
  equal(fromYaml("name: mine\nbudget: {max_trials: 3}"), { value: { name: "mine", budget: { max_trials: 3 } } });
  equal(toYaml({ name: "mine", pool: null }), "name: mine\n");
}

export function a_slip_in_yaml_is_told_with_its_line() {
  equal(fromYaml("name: mine\nbudget: [").error.startsWith("Line 2"), true);
  equal(fromYaml("just words").error, "A spec is a list of fields, such as name: mine.");
}

export function a_field_is_set_and_removed_with_what_holds_it() {
  equal(withField({ name: "a" }, ["budget", "max_trials"], 3), { name: "a", budget: { max_trials: 3 } });
  equal(withField({ name: "a", budget: { max_trials: 3 } }, ["budget", "max_trials"], undefined), { name: "a" });
}

const SCHEMAS = {
  Budget: { type: "object", properties: { max_trials: { type: "integer", default: 100, description: "Most trials.", minimum: 1 } } },
  Hill: { type: "object", properties: { kind: { const: "hill" } } },
};
const SPEC = {
  type: "object", required: ["name"],
  properties: {
    budget: { $ref: "#/components/schemas/Budget" }, name: { type: "string" }, confirm: { type: "boolean", default: false },
    pool: { anyOf: [{ type: "string" }, { type: "null" }] }, sizes: { type: "array", items: { type: "string" } },
    strategy: { discriminator: { propertyName: "kind", mapping: { hill: "#/components/schemas/Hill" } }, oneOf: [] },
  },
};

export function a_schema_becomes_fields_needed_ones_first_groups_last() {
  const fields = fieldsOf(SPEC, SCHEMAS);
  equal(fields.map((field) => [field.path.join("."), field.kind]), [
    ["name", "string"], ["confirm", "boolean"], ["pool", "string"], ["sizes", "list"], ["strategy.kind", "choice"], ["budget", "group"],
  ]);
  equal(fields.at(-1).fields[0].initial, 100);
}

export function a_group_with_a_short_form_is_a_group() {
  const schema = { type: "object", properties: { limits: { anyOf: [{ const: "usual", type: "string" }, { $ref: "#/components/schemas/Budget" }] } } };
  const [limits] = fieldsOf(schema, SCHEMAS);
  equal([limits.kind, limits.fields.map((field) => field.label)], ["group", ["max trials"]]);
}

export function of_two_forms_of_a_body_the_one_that_fits_is_shown() {
  const schemas = { Paths: { type: "object", properties: { name: {}, paths: {} } }, Splits: { type: "object", properties: { name: {}, train: {} } } };
  const body = { anyOf: [{ $ref: "#/components/schemas/Splits" }, { $ref: "#/components/schemas/Paths" }] };
  const description = { components: { schemas }, paths: { "/x": { post: { requestBody: { content: { "application/json": { schema: body } } } } } } };
  equal(bodySchema(description, "/x", { name: "a", paths: [] }).schema, schemas.Paths);
}

export function an_error_belongs_to_the_field_that_it_names() {
  equal(errorsByField([{ location: ["body", "base", "training", "epochs"], message: "too small" }]).get("base.training.epochs"), "too small");
}

export function what_is_typed_becomes_a_value_of_its_kind() {
  equal(valueOf({ kind: "integer" }, "12"), 12);
  equal(valueOf({ kind: "number" }, "1e-3"), 0.001);
  equal(valueOf({ kind: "list" }, "48x48, 64x64"), ["48x48", "64x64"]);
  equal(valueOf({ kind: "string" }, " "), undefined);
}

export function a_clone_has_a_free_name() {
  equal(cloned({ name: "first" }, ["first", "first-2"]).name, "first-3");
}

export function an_extended_pool_trains_its_last_phase_further() {
  const spec = { name: "teachers", dataset: "roads", phases: [{ name: "supernet" }, { name: "shrink", epochs: 3 }], pretrained: {}, source: null };
  equal(extendedPool(spec, ["teachers"]), { name: "teachers-2", dataset: "roads", phases: [{ name: "shrink", epochs: 3 }], start_from: "teachers" });
}

export function a_stream_may_break_within_an_event() {
  const [events, rest] = parseEvents('id: 1\nevent: status\ndata: {"number": 1}\n\nid: 2\nda');
  equal([events, rest], [[{ number: 1 }], "id: 2\nda"]);
}

export function a_ping_is_no_event() {
  equal(parseEvents(": ping\n\n"), [[], ""]);
}

export function what_can_be_done_follows_from_the_status() {
  const verbs = (kind, status) => actionsOf(kind, status).map((action) => action.verb);
  equal(verbs("search", "running"), ["pause", "extend", "finish", "cancel", "kill"]);
  equal(verbs("search", "succeeded"), ["extend", "finish", "archive"]);
  equal(verbs("pool", "paused"), ["resume", "cancel", "kill"]);
  equal(verbs("search", "failed"), ["extend", "delete", "archive"]);
  equal(verbs("pool", "ready"), ["extend", "archive"]);
  equal(verbs("teacher", "ready"), ["archive"]);
  equal(verbs("device", "measuring"), []);
  equal(verbs("device", "ready"), ["delete", "archive"]);
  equal(actionsOf("device", "ready")[0], { verb: "delete", warning: "Its entry and its table are removed for good." });
}

export function what_has_ended_is_archived_after_a_question_and_unarchived_without_one() {
  const asked = (isArchived) => actionsOf("teacher", "ready", isArchived).map(({ verb, warning }) => [verb, warning !== null]);
  equal([asked(false), asked(true)], [[["archive", true]], [["unarchive", false]]]);
}

export function a_filter_needs_every_word_and_the_status() {
  const item = { name: "night", status: "running", status_reason: "base trained", spec: { dataset: "roads" } };
  equal([matches(item, { text: "ROADS trained" }), matches(item, { text: "roads failed" }), matches(item, { status: "active" }), matches(item, { status: "failed" })], [true, false, true, false]);
}

export function a_distillation_has_come_as_far_as_its_stages() {
  const stages = ["succeeded", "succeeded", "running", null].map((status) => ({ status }));
  const distillation = { status: "running", started_at: "2026-01-01T00:00:00Z", stages };
  const { share, text, secondsLeft } = distillationProgress(distillation, Date.parse("2026-01-01T01:00:00Z"));
  equal([share, text, secondsLeft], [0.5, "2 of 4 stages", 3600]);
  equal(distillationProgress({ status: "preparing", stages: [] }), null);
}

export function the_time_left_follows_from_the_speed_so_far() {
  const search = { status: "running", budget: { max_trials: 10 }, trials: { succeeded: 5, skipped: 1, running: 1 }, started_at: "2026-01-01T00:00:00Z" };
  const { share, text, secondsLeft } = searchProgress(search, Date.parse("2026-01-01T01:00:00Z"));
  equal([share, text, secondsLeft], [0.5, "5 of at most 10 trials", 3600]);
}

export function a_training_is_as_far_as_its_epochs_and_iterations() {
  const { share, text } = trainingProgress({ stage: "train", epoch: 2, num_epochs: 4, iteration: 5, num_iterations: 10, losses: {} });
  equal([share, text], [0.375, "train, epoch 2 of 4"]);
}

export function an_address_names_page_name_and_options() {
  const route = parseRoute(href("searches", "first", { tab: "lineage" }));
  equal([route.page, route.name, route.options.get("tab"), parseRoute("").page], ["searches", "first", "lineage", "home"]);
}
