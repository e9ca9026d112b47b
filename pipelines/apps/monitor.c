/* An application in C that watches a video for fakes: reads each frame's report from the buffer's metadata, and the
 * alerts from the bus.
 *
 *   filesrc ! decodebin ! videoconvert ! deepfakedetect post-messages=true ! fakesink
 *                                                            |                  ^ pad probe: metadata
 *                                                            bus: deepfake-report, deepfake-alert
 *
 * Build:  cc -O2 -Wall -Wextra -o monitor monitor.c $(pkg-config --cflags --libs deepfake-report)
 *         In a checkout: … -Iinclude $(pkg-config --cflags --libs gstreamer-1.0)
 * Run:    GST_PLUGIN_PATH=target/release ./monitor talk.mp4 [MODEL]
 */
#include <deepfake.h>

/* Metadata and message hold the same report. */
static void
print_report (const char *from, const GstStructure *report)
{
  for (guint i = 0; i < deepfake_report_get_n_faces (report); i++) {
    const GstStructure *face = deepfake_report_get_face (report, i);
    gdouble x, y, width, height, score;
    deepfake_face_get_box (face, &x, &y, &width, &height);
    /* Not there until the face was watched for long enough. */
    gchar *value = deepfake_face_get_score (face, &score) ? g_strdup_printf (" %.2f", score) : g_strdup ("");
    g_print ("%s %" GST_TIME_FORMAT " face %u at %.2f,%.2f %s%s\n", from,
        GST_TIME_ARGS (deepfake_report_get_pts (report)), deepfake_face_get_track_id (face), x, y,
        deepfake_face_get_state (face), value);
    g_free (value);
  }
}

/* Called from the streaming thread, for each frame. */
static GstPadProbeReturn
on_buffer (GstPad *pad, GstPadProbeInfo *info, gpointer user_data)
{
  (void) pad;
  (void) user_data;
  print_report ("meta", deepfake_buffer_get_report (GST_PAD_PROBE_INFO_BUFFER (info)));
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
    const GstStructure *alert = deepfake_message_get_alert (message);
    print_report ("message", deepfake_message_get_report (message));
    if (alert != NULL) {
      g_print ("alert %s: %s of face %u\n", deepfake_alert_get_action (alert), deepfake_alert_get_kind (alert),
          deepfake_alert_get_track_id (alert));
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
