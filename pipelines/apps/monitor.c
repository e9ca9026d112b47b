/* An application in C that watches a video for fakes: reads each frame's report from the buffer's metadata, and the
 * alerts from the bus.
 *
 *   filesrc ! decodebin ! videoconvert ! deepfakedetect post-messages=true ! fakesink
 *                                                            |                  ^ pad probe: metadata
 *                                                            bus: deepfake-report, deepfake-alert
 *
 * Build:  cc -O2 -Wall -Wextra -o monitor monitor.c $(pkg-config --cflags --libs gstreamer-1.0)
 * Run:    GST_PLUGIN_PATH=target/release ./monitor talk.mp4 [MODEL]
 */
#include <gst/gst.h>

/* Prints the faces of a report: the structure of the metadata and that of the message have the same fields. */
static void
print_report (const char *from, const GstStructure *report)
{
  guint64 pts = 0;
  gst_structure_get_uint64 (report, "pts", &pts);
  const GValue *faces = gst_structure_get_value (report, "faces");
  if (faces == NULL || !GST_VALUE_HOLDS_ARRAY (faces))
    return;
  for (guint i = 0; i < gst_value_array_get_size (faces); i++) {
    const GstStructure *face = gst_value_get_structure (gst_value_array_get_value (faces, i));
    guint track = 0;
    gdouble x = 0, y = 0, score = 0;
    gst_structure_get (face, "track_id", G_TYPE_UINT, &track, "x", G_TYPE_DOUBLE, &x, "y", G_TYPE_DOUBLE, &y, NULL);
    /* In one piece: two threads print. */
    GString *line = g_string_new (NULL);
    g_string_printf (line, "%s %" GST_TIME_FORMAT " face %u at %.2f,%.2f %s", from, GST_TIME_ARGS (pts), track, x, y,
        gst_structure_get_string (face, "state"));
    /* Not there until the window holds enough. */
    if (gst_structure_get_double (face, "score", &score))
      g_string_append_printf (line, " %.2f", score);
    g_print ("%s\n", line->str);
    g_string_free (line, TRUE);
  }
}

/* Called from the streaming thread, for each frame. */
static GstPadProbeReturn
on_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  (void) pad;
  (void) user_data;
  GstCustomMeta *meta = gst_buffer_get_custom_meta (GST_PAD_PROBE_INFO_BUFFER (info), "deepfake-meta");
  if (meta != NULL)
    print_report ("meta", gst_custom_meta_get_structure (meta));
  return GST_PAD_PROBE_OK;
}

int
main (int argc, char *argv[])
{
  GError *error = NULL;
  gst_init (&argc, &argv);
  if (argc != 2 && argc != 3) {
    g_printerr ("usage: %s VIDEO [MODEL]\n", argv[0]);
    return 2;
  }
  GstElement *pipeline = gst_parse_launch (
      "filesrc name=file ! decodebin ! videoconvert"
      " ! deepfakedetect name=detect mode=sync on-error=fail post-messages=true ! fakesink name=sink", &error);
  if (error != NULL) {
    g_printerr ("%s\n", error->message);
    return 1;
  }
  GstElement *file = gst_bin_get_by_name (GST_BIN (pipeline), "file");
  g_object_set (file, "location", argv[1], NULL);
  gst_object_unref (file);

  if (argc == 3) {
    GstElement *detect = gst_bin_get_by_name (GST_BIN (pipeline), "detect");
    g_object_set (detect, "model", argv[2], NULL);
    gst_object_unref (detect);
  }

  GstElement *sink = gst_bin_get_by_name (GST_BIN (pipeline), "sink");
  GstPad *pad = gst_element_get_static_pad (sink, "sink");
  gst_pad_add_probe (pad, GST_PAD_PROBE_TYPE_BUFFER, on_buffer, NULL, NULL);
  gst_object_unref (pad);
  gst_object_unref (sink);

  gst_element_set_state (pipeline, GST_STATE_PLAYING);
  GstBus *bus = gst_element_get_bus (pipeline);
  int status = -1;
  while (status < 0) {
    GstMessage *message = gst_bus_timed_pop_filtered (bus, GST_CLOCK_TIME_NONE,
        GST_MESSAGE_ELEMENT | GST_MESSAGE_WARNING | GST_MESSAGE_ERROR | GST_MESSAGE_EOS);
    const GstStructure *fields = gst_message_get_structure (message);
    if (gst_message_has_name (message, "deepfake-report")) {
      print_report ("message", fields);
    } else if (gst_message_has_name (message, "deepfake-alert")) {
      guint track = 0;
      gst_structure_get_uint (fields, "track_id", &track);
      g_print ("alert %s: %s of face %u\n", gst_structure_get_string (fields, "action"),
          gst_structure_get_string (fields, "kind"), track);
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_EOS) {
      status = 0;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_ERROR) {
      gst_message_parse_error (message, &error, NULL);
      g_printerr ("%s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
      g_clear_error (&error);
      status = 1;
    } else if (GST_MESSAGE_TYPE (message) == GST_MESSAGE_WARNING) {
      gst_message_parse_warning (message, &error, NULL);
      g_printerr ("%s: %s\n", GST_MESSAGE_SRC_NAME (message), error->message);
      g_clear_error (&error);
    }
    gst_message_unref (message);
  }

  gst_element_set_state (pipeline, GST_STATE_NULL);
  gst_object_unref (bus);
  gst_object_unref (pipeline);
  return status;
}
