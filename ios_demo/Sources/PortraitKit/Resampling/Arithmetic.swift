import Foundation

/// The natural logarithm.
func logarithm(_ value: Double) -> Double { log(value) }

/// Rounds half to even, as Python's `round` does.
func roundHalfToEven(_ value: Double) -> Int { Int(value.rounded(.toNearestOrEven)) }

/// 1.5 · 2^23: a float of this magnitude has no fractional bits, and its lowest bits are the integer itself.
private let integerBias: Float = 12_582_912

/// A value in 0..255 as a byte, half to even; values outside are clamped, NaN becomes 0.
@inline(__always)
func byte(_ value: Float) -> UInt8 {
    let low = value > 0 ? value : 0
    let clamped = low < 255 ? low : 255
    return UInt8(truncatingIfNeeded: (clamped + integerBias).bitPattern)
}
