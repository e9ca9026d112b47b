/* deepfake.h: reads what gst-plugin-deepfake finds, from buffers and from messages on the bus.
 *
 * A header alone: there is no library to link but GStreamer (1.20 or newer).
 *
 *     cc -o app app.c $(pkg-config --cflags --libs deepfake-report)
 *
 * A report is a GstStructure, and so is each face in it. The structures and strings that these functions return belong
 * to the buffer or message that they were read from. Functions that return a gboolean and take a pointer leave it
 * alone, and return FALSE, where the field is absent: a face without a score was not judged, which never means that it
 * is authentic. Ignore fields and words that you do not know; newer versions may add some.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef DEEPFAKE_H
#define DEEPFAKE_H

#include <gst/gst.h>

G_BEGIN_DECLS

/* Version of the report's form. It is raised when a field changes its meaning. */
#define DEEPFAKE_SCHEMA 1u

/* Where a report is found. */
#define DEEPFAKE_META "deepfake-meta"                   /* name of the GstCustomMeta of a buffer */
#define DEEPFAKE_MESSAGE_REPORT "deepfake-report"       /* element message, with post-messages=true */
#define DEEPFAKE_MESSAGE_ALERT "deepfake-alert"         /* element message */
#define DEEPFAKE_MESSAGE_STATS "deepfakedetect-stats"   /* element message, with stats-interval */
#define DEEPFAKE_ROI_TYPE "face"                        /* roi_type of GstVideoRegionOfInterestMeta */
#define DEEPFAKE_ROI_PARAM "deepfake"                   /* its parameter, with the fields of a face */

/* Fields of a report. */
#define DEEPFAKE_REPORT_SCHEMA "schema"                 /* guint */
#define DEEPFAKE_REPORT_PTS "pts"                       /* guint64, ns: of the newest analysed frame */
#define DEEPFAKE_REPORT_RUNNING_TIME "running_time"     /* guint64, ns */
#define DEEPFAKE_REPORT_UTC "utc"                       /* gchararray, RFC 3339 */
#define DEEPFAKE_REPORT_STREAM "stream"                 /* gchararray, the element's property of that name */
#define DEEPFAKE_REPORT_RUN "run"                       /* gchararray, random id of this start */
#define DEEPFAKE_REPORT_ELEMENT "element"               /* gchararray, name of the deepfakedetect */
#define DEEPFAKE_REPORT_MODEL "model"                   /* gchararray, name@version */
#define DEEPFAKE_REPORT_DEVICE "device"                 /* gchararray */
#define DEEPFAKE_REPORT_FACES "faces"                   /* GstValueArray of GstStructure */

/* Fields of a face. */
#define DEEPFAKE_FACE_TRACK_ID "track_id"               /* guint */
#define DEEPFAKE_FACE_X "x"                             /* gdouble, 0..1 of the frame */
#define DEEPFAKE_FACE_Y "y"                             /* gdouble */
#define DEEPFAKE_FACE_WIDTH "width"                     /* gdouble */
#define DEEPFAKE_FACE_HEIGHT "height"                   /* gdouble */
#define DEEPFAKE_FACE_DETECTION "detection"             /* gdouble, the face detector's confidence */
#define DEEPFAKE_FACE_SEEN "seen"                       /* gboolean, in this very frame */
#define DEEPFAKE_FACE_STATE "state"                     /* gchararray */
#define DEEPFAKE_FACE_REASON "reason"                   /* gchararray */
#define DEEPFAKE_FACE_SCORE "score"                     /* gdouble, P(fake) */
#define DEEPFAKE_FACE_FRAME_SCORE "frame_score"         /* gdouble, of the newest crop alone */
#define DEEPFAKE_FACE_CERTAINTY "certainty"             /* gdouble */
#define DEEPFAKE_FACE_SPIKE "spike"                     /* gboolean, several crops in a row look fake */
#define DEEPFAKE_FACE_KIND "kind"                       /* GstStructure of gdouble: swap, lips, generated */
#define DEEPFAKE_FACE_WHERE "where"                     /* GstValueArray of rows, each one of gdouble */
#define DEEPFAKE_FACE_WINDOW_FILL "window_fill"         /* guint */
#define DEEPFAKE_FACE_WINDOW_SIZE "window_size"         /* guint */
#define DEEPFAKE_FACE_WINDOW_START "window_start"       /* guint64, ns */
#define DEEPFAKE_FACE_WINDOW_END "window_end"           /* guint64, ns */

/* Words of a face's state. */
#define DEEPFAKE_STATE_WARMING "warming"
#define DEEPFAKE_STATE_AUTHENTIC "authentic"
#define DEEPFAKE_STATE_UNCERTAIN "uncertain"
#define DEEPFAKE_STATE_FAKE "fake"
#define DEEPFAKE_STATE_REJECTED "rejected"

/* Fields of an alert. */
#define DEEPFAKE_ALERT_ID "id"                          /* guint64, the same from raised to cleared */
#define DEEPFAKE_ALERT_ACTION "action"                  /* gchararray: raised, updated, cleared */
#define DEEPFAKE_ALERT_KIND "kind"                      /* gchararray */
#define DEEPFAKE_ALERT_TRACK_ID "track_id"              /* guint */
#define DEEPFAKE_ALERT_SINCE "since"                    /* guint64, ns */
#define DEEPFAKE_ALERT_PEAK "peak"                      /* gdouble */
#define DEEPFAKE_ALERT_FACE "face"                      /* GstStructure, absent once the face is gone */
#define DEEPFAKE_ALERT_REPORT "report"                  /* GstStructure */

#define DEEPFAKE_ACTION_RAISED "raised"
#define DEEPFAKE_ACTION_UPDATED "updated"
#define DEEPFAKE_ACTION_CLEARED "cleared"

/* What the functions below are made of; of use for fields of newer versions, too. */

static inline guint
deepfake_get_uint (const GstStructure *structure, const gchar *field)
{
  guint value = 0;
  if (structure != NULL)
    gst_structure_get_uint (structure, field, &value);
  return value;
}

static inline gdouble
deepfake_get_double (const GstStructure *structure, const gchar *field)
{
  gdouble value = 0;
  if (structure != NULL)
    gst_structure_get_double (structure, field, &value);
  return value;
}

/* GST_CLOCK_TIME_NONE where there is none. */
static inline GstClockTime
deepfake_get_time (const GstStructure *structure, const gchar *field)
{
  guint64 value = GST_CLOCK_TIME_NONE;
  if (structure != NULL)
    gst_structure_get_uint64 (structure, field, &value);
  return value;
}

/* NULL where there is none. */
static inline const gchar *
deepfake_get_string (const GstStructure *structure, const gchar *field)
{
  return structure != NULL ? gst_structure_get_string (structure, field) : NULL;
}

/* NULL where there is none. */
static inline const GstStructure *
deepfake_get_structure (const GstStructure *structure, const gchar *field)
{
  const GValue *value = structure != NULL ? gst_structure_get_value (structure, field) : NULL;
  return value != NULL && GST_VALUE_HOLDS_STRUCTURE (value) ? gst_value_get_structure (value) : NULL;
}

/* --- Where a report is found ------------------------------------------------------------------------------------- */

/* The report of the deepfakedetect of that name (NULL: of the first one) that a buffer carries, or NULL. Only reports
 * of the schema that this header knows. */
static inline const GstStructure *
deepfake_buffer_get_report_of (GstBuffer *buffer, const gchar *element)
{
  gpointer state = NULL;
  GstMeta *meta;
  while ((meta = gst_buffer_iterate_meta (buffer, &state)) != NULL) {
    const GstStructure *report;
    if (!gst_meta_info_is_custom (meta->info) || !gst_custom_meta_has_name ((GstCustomMeta *) meta, DEEPFAKE_META))
      continue;
    report = gst_custom_meta_get_structure ((GstCustomMeta *) meta);
    if (deepfake_get_uint (report, DEEPFAKE_REPORT_SCHEMA) == DEEPFAKE_SCHEMA
        && (element == NULL || g_strcmp0 (deepfake_get_string (report, DEEPFAKE_REPORT_ELEMENT), element) == 0))
      return report;
  }
  return NULL;
}

/* The report that a buffer carries, or NULL. */
static inline const GstStructure *
deepfake_buffer_get_report (GstBuffer *buffer)
{
  return deepfake_buffer_get_report_of (buffer, NULL);
}

/* The report of a deepfake-report message, NULL of any other message. */
static inline const GstStructure *
deepfake_message_get_report (GstMessage *message)
{
  const GstStructure *report =
      gst_message_has_name (message, DEEPFAKE_MESSAGE_REPORT) ? gst_message_get_structure (message) : NULL;
  return deepfake_get_uint (report, DEEPFAKE_REPORT_SCHEMA) == DEEPFAKE_SCHEMA ? report : NULL;
}

/* The alert of a deepfake-alert message, NULL of any other message. GST_MESSAGE_SRC_NAME says whose it is. */
static inline const GstStructure *
deepfake_message_get_alert (GstMessage *message)
{
  return gst_message_has_name (message, DEEPFAKE_MESSAGE_ALERT) ? gst_message_get_structure (message) : NULL;
}

/* --- A report ---------------------------------------------------------------------------------------------------- */

/* PTS of the newest analysed frame; it may be older than the buffer that carries the report. */
static inline GstClockTime
deepfake_report_get_pts (const GstStructure *report)
{
  return deepfake_get_time (report, DEEPFAKE_REPORT_PTS);
}

/* name@version */
static inline const gchar *
deepfake_report_get_model (const GstStructure *report)
{
  return deepfake_get_string (report, DEEPFAKE_REPORT_MODEL);
}

static inline const gchar *
deepfake_report_get_device (const GstStructure *report)
{
  return deepfake_get_string (report, DEEPFAKE_REPORT_DEVICE);
}

static inline guint
deepfake_report_get_n_faces (const GstStructure *report)
{
  const GValue *faces = report != NULL ? gst_structure_get_value (report, DEEPFAKE_REPORT_FACES) : NULL;
  return faces != NULL && GST_VALUE_HOLDS_ARRAY (faces) ? gst_value_array_get_size (faces) : 0;
}

/* NULL where there is no such face. */
static inline const GstStructure *
deepfake_report_get_face (const GstStructure *report, guint index)
{
  const GValue *face;
  if (index >= deepfake_report_get_n_faces (report))
    return NULL;
  face = gst_value_array_get_value (gst_structure_get_value (report, DEEPFAKE_REPORT_FACES), index);
  return GST_VALUE_HOLDS_STRUCTURE (face) ? gst_value_get_structure (face) : NULL;
}

/* --- A face ------------------------------------------------------------------------------------------------------ */

/* The same for as long as the face is followed; never used again within a stream. */
static inline guint
deepfake_face_get_track_id (const GstStructure *face)
{
  return deepfake_get_uint (face, DEEPFAKE_FACE_TRACK_ID);
}

/* 0..1 of the frame's width and height. */
static inline void
deepfake_face_get_box (const GstStructure *face, gdouble *x, gdouble *y, gdouble *width, gdouble *height)
{
  *x = deepfake_get_double (face, DEEPFAKE_FACE_X);
  *y = deepfake_get_double (face, DEEPFAKE_FACE_Y);
  *width = deepfake_get_double (face, DEEPFAKE_FACE_WIDTH);
  *height = deepfake_get_double (face, DEEPFAKE_FACE_HEIGHT);
}

/* One of the DEEPFAKE_STATE_ words, or one of a newer version. */
static inline const gchar *
deepfake_face_get_state (const GstStructure *face)
{
  return deepfake_get_string (face, DEEPFAKE_FACE_STATE);
}

static inline gboolean
deepfake_face_is_fake (const GstStructure *face)
{
  return g_strcmp0 (deepfake_face_get_state (face), DEEPFAKE_STATE_FAKE) == 0;
}

/* Why there is no verdict; NULL where nothing stands in its way. */
static inline const gchar *
deepfake_face_get_reason (const GstStructure *face)
{
  return deepfake_get_string (face, DEEPFAKE_FACE_REASON);
}

/* Calibrated probability that the face is fake; FALSE while it is not judged. */
static inline gboolean
deepfake_face_get_score (const GstStructure *face, gdouble *score)
{
  return face != NULL && gst_structure_get_double (face, DEEPFAKE_FACE_SCORE, score);
}

/* The same of the newest crop alone; FALSE where the model cannot say. */
static inline gboolean
deepfake_face_get_frame_score (const GstStructure *face, gdouble *score)
{
  return face != NULL && gst_structure_get_double (face, DEEPFAKE_FACE_FRAME_SCORE, score);
}

/* Whether the face was found in this very frame; if not, its box is where it is expected. */
static inline gboolean
deepfake_face_is_seen (const GstStructure *face)
{
  gboolean seen = TRUE;
  if (face != NULL)
    gst_structure_get_boolean (face, DEEPFAKE_FACE_SEEN, &seen);
  return seen;
}

/* How much the score is worth, 0..1. */
static inline gdouble
deepfake_face_get_certainty (const GstStructure *face)
{
  return deepfake_get_double (face, DEEPFAKE_FACE_CERTAINTY);
}

/* Newest crop of the window: with the track's id it tells one measurement from the next. */
static inline GstClockTime
deepfake_face_get_window_end (const GstStructure *face)
{
  return deepfake_get_time (face, DEEPFAKE_FACE_WINDOW_END);
}

/* --- An alert ---------------------------------------------------------------------------------------------------- */

/* The same from raised to cleared; counted from 1, so 0 is none. */
static inline guint64
deepfake_alert_get_id (const GstStructure *alert)
{
  guint64 id = 0;
  if (alert != NULL)
    gst_structure_get_uint64 (alert, DEEPFAKE_ALERT_ID, &id);
  return id;
}

/* One of the DEEPFAKE_ACTION_ words, or one of a newer version. */
static inline const gchar *
deepfake_alert_get_action (const GstStructure *alert)
{
  return deepfake_get_string (alert, DEEPFAKE_ALERT_ACTION);
}

static inline const gchar *
deepfake_alert_get_kind (const GstStructure *alert)
{
  return deepfake_get_string (alert, DEEPFAKE_ALERT_KIND);
}

static inline guint
deepfake_alert_get_track_id (const GstStructure *alert)
{
  return deepfake_get_uint (alert, DEEPFAKE_ALERT_TRACK_ID);
}

/* When the score rose over the threshold. */
static inline GstClockTime
deepfake_alert_get_since (const GstStructure *alert)
{
  return deepfake_get_time (alert, DEEPFAKE_ALERT_SINCE);
}

/* Highest score since then. */
static inline gdouble
deepfake_alert_get_peak (const GstStructure *alert)
{
  return deepfake_get_double (alert, DEEPFAKE_ALERT_PEAK);
}

/* The face as it is now; NULL once it has left. */
static inline const GstStructure *
deepfake_alert_get_face (const GstStructure *alert)
{
  return deepfake_get_structure (alert, DEEPFAKE_ALERT_FACE);
}

/* The report that the alert belongs to. */
static inline const GstStructure *
deepfake_alert_get_report (const GstStructure *alert)
{
  return deepfake_get_structure (alert, DEEPFAKE_ALERT_REPORT);
}

G_END_DECLS

#endif /* DEEPFAKE_H */
