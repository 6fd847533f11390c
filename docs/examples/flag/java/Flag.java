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
 * The cutover flag of backfill, as an application obeys it. docs/flag.md says why each rule is what it is.
 *
 * <p>Only the standard library. V is whatever an attribute value is: AttributeValue with the AWS SDK for Java 2:
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
  /** What the flag says is not known: do not read or write the attributes that move. */
  public static final class Unknown extends RuntimeException {
    public Unknown(String why, Throwable cause) {
      super(why, cause);
    }
  }

  /** Without an item, the migration has not begun. */
  public static Flag absent() {
    return new Flag("old", "old", 0, false, Duration.ofSeconds(1));
  }

  /** The flag of its item's attributes, null for one that is missing. Anything unknown is refused. */
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
      if (!possible) throw new Unknown("the flag says what it cannot say, or has another schema_version", null);
      return new Flag(write, read, percent, oldStale, Duration.ofSeconds(seconds));
    } catch (NumberFormatException | NullPointerException e) {
      throw new Unknown("this is not a flag", e);
    }
  }

  /** The part of a hundred, 0 to 99, of a partition key of type S. */
  public static int bucketOfString(String key) {
    return bucket('S', key.getBytes(StandardCharsets.UTF_8));
  }

  /** That of a key of type B. */
  public static int bucketOfBytes(byte[] key) {
    return bucket('B', key);
  }

  /** That of a key of type N, however it is spelt: 1.50E1 is 15, -0.50 is -0.5, -0 is 0. */
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

  /** The value to read of an item, or null; bucket is that of its partition key. */
  public <V> V read(int bucket, Map<String, V> item, String oldName, String newName) {
    if (read.equals("old") || bucket >= readPercent) return item.get(oldName);
    V value = item.get(newName);
    // Items that backfill has not come to yet have only the old value. Once values were written to the new attribute
    // alone, an old one may be stale: then there is no falling back.
    return value == null && write.equals("both") && !oldStale ? item.get(oldName) : value;
  }

  /** An UpdateItem's expression with its names and values. */
  public record Update<V>(String expression, Map<String, String> names, Map<String, V> values) {}

  /** Writes a value: both attributes in one write, or neither. */
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

  /** Deletes a value: both attributes, whatever the flag says. */
  public static <V> Update<V> remove(String oldName, String newName) {
    return new Update<>("REMOVE #old, #new", Map.of("#old", oldName, "#new", newName), Map.of());
  }

  /**
   * The flag, obeyed for at most maxCache after the request that read it was sent.
   *
   * <p>It is read again after a third of that time. If that fails, it is obeyed for another third, and then nothing is:
   * Unknown. The last third belongs to the request that is made under it, its retries included: give the client of the data
   * table an apiCallTimeout of a third of maxCache.
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

    /** The flag to obey now. */
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
      // A reply that took too long says what was so once.
      if (nanos.getAsLong() - began >= found.maxCache.toNanos() / 3 * 2) {
        throw new Unknown("reading the flag took too long", null);
      }
      flag = found;
      sent = began;
      return found;
    }
  }
}
