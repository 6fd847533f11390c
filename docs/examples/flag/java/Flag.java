import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.LongSupplier;

/**
 * Reads backfill's cutover flag in applications. docs/flag.md explains the rules.
 *
 * <p>It uses only the standard library. V is the type of an attribute value, for example AttributeValue of the AWS SDK for Java 2:
 *
 * <pre>{@code
 * var flags = new Flag.Cached(() -> {
 *   var item = dynamodb.getItem(r -> r.tableName("my-flags").key(Map.of("id", fromS("rename-email"))).consistentRead(true)).item();
 *   return item.isEmpty() ? Flag.absent() : Flag.parse(item.get("schema_version").n(), item.get("version").n(), …);
 * });
 * var email = flags.current().read(Flag.bucketOfString("CUSTOMER#1"), item, "email", "contact_email");
 * var update = flags.current().write("email", "contact_email", fromS("…"));
 * }</pre>
 *
 * @param write old, both or new
 * @param read old or new
 */
public record Flag(String write, String read, int readPercent, boolean oldStale, Duration maxCache) {
  /** The state of the flag is unknown: do not read or write the attributes that move. */
  public static final class Unknown extends RuntimeException {
    public Unknown(String why, Throwable cause) {
      super(why, cause);
    }
  }

  /** The flag if its item does not exist, which means that the migration has not begun. */
  public static Flag absent() {
    return new Flag("old", "old", 0, false, Duration.ofSeconds(1));
  }

  /** Reads the flag from the attributes of its item. A missing attribute is null. Refuses unknown values. */
  public static Flag parse(
      String schemaVersion, String version, String write, String read, String readPercent, String maxCacheSeconds, Boolean oldStale) {
    try {
      int percent = Integer.parseInt(readPercent);
      long seconds = Long.parseLong(maxCacheSeconds);
      boolean possible =
          "1".equals(schemaVersion)
              && Long.parseLong(version) >= 1
              && ("old".equals(write) || "both".equals(write) || "new".equals(write))
              && ("old".equals(read) || "new".equals(read))
              && percent >= 0
              && percent <= 100
              && (percent == 0) == "old".equals(read)
              && !("new".equals(read) && "old".equals(write))
              && !("new".equals(write) && percent < 100)
              && seconds >= 1;
      if (!possible) throw new Unknown("the flag has an invalid value or combination, or another schema_version", null);
      return new Flag(write, read, percent, oldStale, Duration.ofSeconds(seconds));
    } catch (NumberFormatException | NullPointerException e) {
      throw new Unknown("this is not a flag", e);
    }
  }

  /** Returns the bucket (0 to 99) of a partition key of type S. */
  public static int bucketOfString(String key) {
    return bucket('S', key.getBytes(StandardCharsets.UTF_8));
  }

  /** Returns the bucket of a key of type B. */
  public static int bucketOfBytes(byte[] key) {
    return bucket('B', key);
  }

  /** Returns the bucket of a key of type N. Equal numbers have the same bucket: 1.50E1 is 15, -0.50 is -0.5, -0 is 0. */
  public static int bucketOfNumber(String key) {
    String plain = new BigDecimal(key).stripTrailingZeros().toPlainString();
    return bucket('N', plain.getBytes(StandardCharsets.US_ASCII));
  }

  private static int bucket(char type, byte[] value) {
    try {
      MessageDigest hash = MessageDigest.getInstance("SHA-256");
      hash.update((byte) type);
      // A ByteBuffer is big endian.
      long first = ByteBuffer.wrap(hash.digest(value)).getLong();
      return (int) Long.remainderUnsigned(first, 100);
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  /** Returns the item's old or new value, as the flag requires, or null. bucket is the bucket of the item's partition key. */
  public <V> V read(int bucket, Map<String, V> item, String oldName, String newName) {
    if (read.equals("old") || bucket >= readPercent) return item.get(oldName);
    V value = item.get(newName);
    // Items that backfill has not processed yet have only the old value. After new-only writes, an old value may be
    // stale, so do not fall back to it.
    return value == null && write.equals("both") && !oldStale ? item.get(oldName) : value;
  }

  /** The expression of an UpdateItem request, and the names and values in the expression. */
  public record Update<V>(String expression, Map<String, String> names, Map<String, V> values) {}

  /** Builds an update that writes a value. If the flag says both, the update writes both attributes. */
  public <V> Update<V> write(String oldName, String newName, V value) {
    Map<String, String> names = new TreeMap<>();
    if (!write.equals("new")) names.put("#old", oldName);
    if (!write.equals("old")) names.put("#new", newName);
    String expression =
        switch (write) {
          case "both" -> "SET #old = :value, #new = :value";
          case "new" -> "SET #new = :value";
          default -> "SET #old = :value";
        };
    return new Update<>(expression, names, Map.of(":value", value));
  }

  /** Builds an update that deletes a value. The update always deletes both attributes. */
  public static <V> Update<V> remove(String oldName, String newName) {
    return new Update<>("REMOVE #old, #new", Map.of("#old", oldName, "#new", newName), Map.of());
  }

  /**
   * Caches the flag for at most maxCache. This time begins when the request for the flag is sent.
   *
   * <p>After a third of this time, it reads the flag again. If the read fails, it returns the cached flag for another third. After
   * that, it throws Unknown. The last third is for the request that obeys the flag and for the retries of that request: give the
   * client of the data table an apiCallTimeout of a third of maxCache.
   */
  public static final class Cached {
    private final Callable<Flag> fetch;
    private final LongSupplier nanos;
    private Flag flag;
    private long sent;

    public Cached(Callable<Flag> fetch) {
      this(fetch, System::nanoTime);
    }

    Cached(Callable<Flag> fetch, LongSupplier nanos) {
      this.fetch = fetch;
      this.nanos = nanos;
    }

    /** Returns the flag to obey now. */
    public synchronized Flag current() {
      if (flag != null && nanos.getAsLong() - sent < flag.maxCache.toNanos() / 3) return flag;
      long began = nanos.getAsLong();
      Flag found;
      try {
        found = fetch.call();
      } catch (Exception e) {
        if (flag != null && nanos.getAsLong() - sent < flag.maxCache.toNanos() / 3 * 2) return flag;
        throw new Unknown("the flag could not be read in time", e);
      }
      // A reply that took too long may be out of date.
      if (nanos.getAsLong() - began >= found.maxCache.toNanos() / 3 * 2) {
        throw new Unknown("reading the flag took too long", null);
      }
      flag = found;
      sent = began;
      return found;
    }
  }
}
