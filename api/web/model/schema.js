// The fields of a form, from the JSON Schema of a spec in the API's description.
// A field: {path, label, help, kind, required, initial, options, minimum, fields}.
const MAX_DEPTH = 3;

/** Return the fields of an object schema; required ones first, groups last. */
export function fieldsOf(schema, schemas, path = []) {
  const resolved = resolve(schema, schemas);
  const required = new Set(resolved.required ?? []);
  const fields = Object.entries(resolved.properties ?? {})
    .filter(([name, each]) => !("const" in resolve(each, schemas)) && name !== "kind")
    .map(([name, each]) => fieldOf([...path, name], each, schemas, required.has(name)));
  const rank = (field) => (field.required ? 0 : field.kind === "group" ? 2 : 1);
  return fields.sort((one, other) => rank(one) - rank(other));
}

function fieldOf(path, schema, schemas, required) {
  const resolved = resolve(schema, schemas);
  const shared = {
    path, required, label: path.at(-1).replaceAll("_", " "),
    help: schema.description ?? resolved.description ?? "", initial: schema.default ?? resolved.default,
    minimum: resolved.minimum ?? resolved.exclusiveMinimum,
  };
  return { ...shared, ...kindOf(resolved, schemas, path) };
}

function kindOf(schema, schemas, path) {
  if (schema.discriminator) {
    return { kind: "choice", path: [...path, schema.discriminator.propertyName], options: Object.keys(schema.discriminator.mapping) };
  }
  if (schema.enum) return { kind: "choice", options: schema.enum };
  if (schema.type === "object" && schema.properties) {
    return path.length < MAX_DEPTH ? { kind: "group", fields: fieldsOf(schema, schemas, path) } : { kind: "text only" };
  }
  if (schema.type === "array" && isScalar(resolve(schema.items ?? {}, schemas))) return { kind: "list" };
  return { kind: isScalar(schema) ? schema.type : "text only" };
}

const isScalar = ({ type, properties }) => !properties && ["string", "integer", "number", "boolean"].includes(type);

/** Follow references, and leave out null and short forms, which are constants: what remains of a union is its first scalar, or itself. */
export function resolve(schema, schemas) {
  if (schema.$ref) return resolve(schemas[schema.$ref.split("/").pop()], schemas);
  if (schema.allOf?.length === 1) return resolve(schema.allOf[0], schemas);
  if (schema.discriminator) return schema;
  const union = (schema.anyOf ?? schema.oneOf)?.filter((each) => each.type !== "null");
  if (!union) return schema;
  const choices = union.map((each) => resolve(each, schemas)).filter((each) => union.length === 1 || !("const" in each));
  if (choices.length === 1) return choices[0];
  return choices.find((each) => isScalar(each) && !each.enum) ?? {};
}

/** Return the schema of a request body, and of its parts: of several forms, the one that fits `spec`. */
export function bodySchema(description, path, spec = {}) {
  const { schemas } = description.components;
  const body = description.paths[path].post.requestBody.content["application/json"].schema;
  const forms = (body.anyOf ?? body.oneOf ?? [body]).map((form) => resolve(form, schemas));
  const fitting = forms.find((form) => Object.keys(spec ?? {}).every((name) => name in (form.properties ?? {})));
  return { schema: fitting ?? forms.at(-1), schemas };
}

/** Return the message for each field, by its path joined with dots, from the errors of a Problem. */
export function errorsByField(errors) {
  const found = new Map();
  for (const { location, message } of errors) {
    const path = location.slice(1).filter((part) => typeof part === "string" || typeof part === "number").join(".");
    if (!found.has(path)) found.set(path, message);
  }
  return found;
}

/** Return the value of an input: a number for a number, a list for a list; undefined if it is empty. */
export function valueOf(field, text) {
  const given = typeof text === "string" ? text.trim() : text;
  if (given === "") return undefined;
  if (field.kind === "integer" || field.kind === "number") return Number.isNaN(Number(given)) ? given : Number(given);
  if (field.kind !== "list") return given;
  return given.split(",").map((part) => part.trim()).filter(Boolean).map((part) => (part !== "" && !Number.isNaN(Number(part)) ? Number(part) : part));
}
