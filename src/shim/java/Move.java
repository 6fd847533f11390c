
  private static final Move MOVE_{{constant}} = {{move}};

  /**
   * Returns the value of {{old}} or {{new}}, as the flag requires, or null.
   *
   * @param {{container}} {{container_name}}
   * @param bucket the bucket of the item's partition key
   */
  public static <V> V read{{stem}}(Map<String, V> {{container}}, Flag flag, int bucket) {
    return MOVE_{{constant}}.read(flag, bucket, {{container}});
  }

  /** Builds an update that writes a value to {{old}}, {{new}} or both, as the flag requires. */
  public static <V> Update<V> writesFor{{stem}}(V value, Flag flag) {
    return MOVE_{{constant}}.writes(flag, value);
  }

  /** Returns what a PutItem must contain: {{old}}, {{new}} or both, as the flag requires. */
  public static <V> Map<String, V> attributesFor{{stem}}(V value, Flag flag) {
    return MOVE_{{constant}}.attributes(flag, value);
  }

  /** Builds an update that deletes a value. The update always deletes both attributes. */
  public static <V> Update<V> removesFor{{stem}}() {
    return MOVE_{{constant}}.removes();
  }
