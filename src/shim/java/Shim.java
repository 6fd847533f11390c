import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.LongSupplier;

/**
 * Reads and writes the attributes that the migration {{migration}} moves in the table {{table}}.
 *
 * <p>{@code backfill shim} generated this code from the plan. Do not edit it: if the plan changes, generate it again. docs/flag.md
 * of backfill explains the rules that the code obeys.
 *
 * <p>It uses only the standard library. V is the type of an attribute value, for example AttributeValue of the AWS SDK for Java 2:
 *
 * <pre>{@code
 * {{flag_key}}
 * var flag = flags.current(); // before the request for the item
 * var value = {{unit}}.read{{example}}(item, flag, Flag.bucketOfString(key)); // the bucket of the partition key
 * var update = {{unit}}.writesFor{{example}}(fromS("…"), flags.current());
 * }</pre>
 *
 * <p>The partition key is {{partition_key}}. Call {@code flags.current()} again before each request, and give the request, with its
 * retries, a time limit of a third of the flag's max_cache_seconds.
{{notes}} */
public final class {{unit}} {
{{constants}}

  private {{unit}}() {}

  /**
   * The state that an application obeys.
   *
   * @param write old, both or new
   * @param read old or new
   */
{{flag}}

{{cache}}

  /** The expression of an UpdateItem request, and the names and values in the expression. */
  public record Update<V>(String expression, Map<String, String> names, Map<String, V> values) {}

  /** Joins updates into one. Each update must have one clause, SET or REMOVE. */
  public static <V> Update<V> combine(List<Update<V>> updates) {
    Map<String, List<String>> clauses = new LinkedHashMap<>();
    Map<String, String> names = new TreeMap<>();
    Map<String, V> values = new TreeMap<>();
    for (Update<V> update : updates) {
      String[] parts = update.expression().split(" ", 2);
      clauses.computeIfAbsent(parts[0], clause -> new ArrayList<>()).add(parts[1]);
      names.putAll(update.names());
      values.putAll(update.values());
    }
    List<String> expression = new ArrayList<>();
    clauses.forEach((clause, actions) -> expression.add(clause + " " + String.join(", ", actions)));
    return new Update<>(String.join(" ", expression), names, values);
  }

  /**
   * An attribute that moves.
   *
   * @param number makes the placeholders of several moves distinct
   * @param prefix the path of the map that contains both attributes
   */
  private record Move(String oldName, String newName, String number, String prefix, Map<String, String> prefixNames) {
    <V> V read(Flag flag, int bucket, Map<String, V> container) {
      if (flag.read().equals("old") || bucket >= flag.readPercent()) return container.get(oldName);
      V value = container.get(newName);
      // Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
      // stale, so do not fall back to it.
      return value == null && flag.write().equals("both") && !flag.oldStale() ? container.get(oldName) : value;
    }

    <V> Update<V> writes(Flag flag, V value) {
      Map<String, String> names = new TreeMap<>(prefixNames);
      List<String> actions = new ArrayList<>();
      String placeholder = ":value" + number;
      if (writesOld(flag)) {
        names.put("#old" + number, oldName);
        actions.add(prefix + "#old" + number + " = " + placeholder);
      }
      if (writesNew(flag)) {
        names.put("#new" + number, newName);
        actions.add(prefix + "#new" + number + " = " + placeholder);
      }
      return new Update<>("SET " + String.join(", ", actions), names, Map.of(placeholder, value));
    }

    <V> Map<String, V> attributes(Flag flag, V value) {
      Map<String, V> attributes = new TreeMap<>();
      if (writesOld(flag)) attributes.put(oldName, value);
      if (writesNew(flag)) attributes.put(newName, value);
      return attributes;
    }

    <V> Update<V> removes() {
      Map<String, String> names = new TreeMap<>(prefixNames);
      names.put("#old" + number, oldName);
      names.put("#new" + number, newName);
      return new Update<>("REMOVE " + prefix + "#old" + number + ", " + prefix + "#new" + number, names, Map.of());
    }

    private static boolean writesOld(Flag flag) {
      return !flag.write().equals("new");
    }

    private static boolean writesNew(Flag flag) {
      return !flag.write().equals("old");
    }
  }
{{moves}}
}
