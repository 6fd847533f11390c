import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;

/** Prints what the shim of the plan with hostile names contains: names as hexadecimal UTF-8. */
public final class Hostile {
  public static void main(String[] arguments) {
    var flag = new HostileShim.Flag("both", "new", 100, false, Duration.ofSeconds(60));
    var update =
        HostileShim.combine(
            List.of(
                HostileShim.writesForLineBreakTab("v1", flag),
                HostileShim.writesForProto("v2", flag),
                HostileShim.writesForConstructor("v3", flag),
                HostileShim.writesForType("v4", flag)));
    var names = update.names();
    System.out.println("expression " + update.expression());
    names.forEach((placeholder, name) -> System.out.println(placeholder + " " + hexadecimal(name)));
    var values = update.values().entrySet().stream().map(value -> value.getKey() + "=" + value.getValue()).toList();
    System.out.println("values " + String.join(",", values));
    System.out.println("partition " + hexadecimal(HostileShim.PARTITION_KEY));
    System.out.println("table " + hexadecimal(HostileShim.FLAG_TABLE));
    new TreeMap<>(HostileShim.FLAG_KEY)
        .forEach((name, value) -> System.out.println("flag " + hexadecimal(name) + " " + hexadecimal(value)));
    var oldOnly = Map.of(names.get("#old1"), "v1", names.get("#old2"), "v2", names.get("#old3"), "v3", names.get("#old4"), "v4");
    var none = Map.<String, String>of();
    same(HostileShim.readLineBreakTab(oldOnly, flag, 0), "v1");
    same(HostileShim.readProto(oldOnly, flag, 0), "v2");
    same(HostileShim.readConstructor(oldOnly, flag, 0), "v3");
    same(HostileShim.readType(oldOnly, flag, 0), "v4");
    absent(HostileShim.readLineBreakTab(none, flag, 0));
    absent(HostileShim.readProto(none, flag, 0));
    absent(HostileShim.readConstructor(none, flag, 0));
    absent(HostileShim.readType(none, flag, 0));
    same(HostileShim.attributesForProto("x", flag).keySet(), Set.of(names.get("#old2"), names.get("#new2")));
    same(HostileShim.attributesForType("x", flag).keySet(), Set.of(names.get("#old4"), names.get("#new4")));
    var removed = HostileShim.<String>combine(List.of(HostileShim.removesForType(), HostileShim.removesForProto()));
    System.out.println("expression " + removed.expression());
    same(removed.values(), Map.of());
  }

  private static String hexadecimal(String text) {
    return HexFormat.of().formatHex(text.getBytes(StandardCharsets.UTF_8));
  }

  private static void absent(Object found) {
    System.out.println("absent " + (found == null ? "True" : "False"));
  }

  private static void same(Object found, Object expected) {
    if (!expected.equals(found)) throw new AssertionError(found + " instead of " + expected);
  }
}
