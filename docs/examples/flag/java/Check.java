import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;

/**
 * Checks Flag with the published vectors. Java has no JSON parser, so tests/source/flag_examples.rs writes the vectors to stdin, as
 * lines of words separated by tabs.
 */
public final class Check {
  private static int count = 0;

  public static void main(String[] arguments) throws Exception {
    Map<String, Flag> flags = new HashMap<>();
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var cache = new Object() {
      Flag.Cached cached;
      long now, takes;
      int reads;
      boolean fails;
    };
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split("\t", -1);
      switch (words[0]) {
        case "hash" -> same(bucket(words[1], words[2]), Integer.parseInt(words[3]), line);
        case "flag" -> {
          flags.put(words[1], parse(words));
          count++;
        }
        case "refused" -> same(isUnknown(() -> parse(words)), true, line);
        case "read" -> {
          Map<String, String> item = new HashMap<>();
          for (String name : words[4].split(",")) if (!name.isEmpty()) item.put(name, "value of " + name);
          String value = flags.get(words[1]).read(bucket(words[2], words[3]), item, "old", "new");
          same(value, words[5].isEmpty() ? null : "value of " + words[5], line);
        }
        case "write" -> {
          var update = flags.get(words[1]).write("old", "new", "v");
          same(update.expression() + " " + update.names(), words[2] + " {" + words[3] + "}", line);
        }
        case "delete" -> {
          var update = Flag.<String>remove("old", "new");
          same(update.expression(), words[1], line);
        }
        case "cache" -> cache.cached =
            new Flag.Cached(
                () -> {
                  cache.reads++;
                  cache.now += cache.takes;
                  if (cache.fails) throw new java.io.IOException("no connection");
                  return flags.get("both");
                },
                () -> cache.now);
        case "step" -> {
          cache.now = Long.parseLong(words[1]) * 1_000_000_000L;
          cache.takes = Long.parseLong(words[2]) * 1_000_000_000L;
          cache.fails = words[3].equals("true");
          cache.reads = 0;
          boolean unknown = isUnknown(cache.cached::current);
          same(unknown + " " + cache.reads, words[5] + " " + words[4], line);
        }
        default -> throw new IllegalArgumentException(line);
      }
    }
    same(Flag.absent().write(), "old", "no item");
    System.out.println(count + " cases");
  }

  private static int bucket(String type, String base64) {
    byte[] key = Base64.getDecoder().decode(base64);
    String text = new String(key, StandardCharsets.UTF_8);
    return switch (type) {
      case "S" -> Flag.bucketOfString(text);
      case "N" -> Flag.bucketOfNumber(text);
      default -> Flag.bucketOfBytes(key);
    };
  }

  /** Reads the flag's attributes, which begin at the third word. An empty word means a missing attribute. */
  private static Flag parse(String[] words) {
    String[] w = new String[words.length];
    for (int i = 0; i < w.length; i++) w[i] = words[i].isEmpty() ? null : words[i];
    return Flag.parse(w[2], w[3], w[4], w[5], w[6], w[7], w[8] == null ? null : Boolean.valueOf(w[8]));
  }

  private static boolean isUnknown(Runnable call) {
    try {
      call.run();
      return false;
    } catch (Flag.Unknown e) {
      return true;
    }
  }

  private static void same(Object found, Object expected, String what) {
    if (!Objects.equals(found, expected)) throw new AssertionError(what + ": found " + found);
    count++;
  }
}
