// As `diesel print-schema` writes it. The tables of users are read and written by SQL of our own.

diesel::table! {
    apply_audit_log (id) {
        id -> Uuid,
        tenant -> Text,
        node -> Text,
        revision -> Int8,
        outcome -> Text,
        actor -> Nullable<Text>,
        request_id -> Text,
        users -> Int4,
        added -> Array<Int4>,
        removed -> Array<Int4>,
        changed -> Array<Int4>,
        files -> Jsonb,
        timings -> Jsonb,
        warnings -> Array<Text>,
        detail -> Nullable<Text>,
        started_at -> Timestamptz,
        finished_at -> Nullable<Timestamptz>,
        duration_ms -> Nullable<Float8>,
    }
}
