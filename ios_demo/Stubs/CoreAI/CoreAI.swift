// STUB, for type-checking on Linux only: CoreAI's declarations as published at developer.apple.com/documentation/coreai
// (iOS 27), without bodies. Views, values and outputs are not copyable there; here too.

import Foundation

@available(iOS 27, macOS 27, *)
public enum ComputeUnitKind: Hashable, Sendable { case cpu, gpu, neuralEngine }

@available(iOS 27, macOS 27, *)
public struct SpecializationOptions: Sendable {
    public static let `default` = SpecializationOptions()
    public static let cpuOnly = SpecializationOptions()
    init() {}
    public init(preferredComputeUnitKind: ComputeUnitKind) { fatalError() }
}

@available(iOS 27, macOS 27, *)
public struct AIModel: Sendable {
    public init(contentsOf modelURL: URL, options: SpecializationOptions = .default) async throws { fatalError() }
    public var functionNames: [String] { fatalError() }
    public func functionDescriptor(for name: String) -> InferenceFunctionDescriptor? { fatalError() }
    public func loadFunction(named name: String) throws -> InferenceFunction? { fatalError() }
}

@available(iOS 27, macOS 27, *)
public struct InferenceFunctionDescriptor: Sendable {
    public var inputNames: [String] { fatalError() }
    public var outputNames: [String] { fatalError() }
}

@available(iOS 27, macOS 27, *)
public struct InferenceFunction: Sendable {
    public struct MutableViews: ~Copyable { public init() {} }
    public struct Outputs: ~Copyable {
        public mutating func remove(_ name: String) -> InferenceValue? { fatalError() }
    }
    public var descriptor: InferenceFunctionDescriptor { fatalError() }
    public func run(
        inputs: [String: NDArray], states: consuming MutableViews = MutableViews(),
        outputViews: consuming MutableViews = MutableViews()
    ) async throws -> Outputs { fatalError() }
}

@available(iOS 27, macOS 27, *)
public struct InferenceValue: ~Copyable {
    public var ndArray: NDArray? { consuming get { fatalError() } }
}

@available(iOS 27, macOS 27, *)
public struct NDArray: Sendable {
    public enum ScalarType: Hashable, Sendable { case bool, int8, uint8, int16, uint16, int32, float16, float32 }
    public struct InterleaveLayout: Sendable {}
    public struct View<Element: BitwiseCopyable>: ~Copyable {
        public var interleaveLayout: InterleaveLayout? { fatalError() }
        public func withUnsafePointer<R, E: Error>(
            _ body: (UnsafePointer<Element>, Span<Int>, Span<Int>) throws(E) -> R
        ) throws(E) -> R { fatalError() }
    }
    public init<Scalar: BitwiseCopyable>(scalars: some Sequence<Scalar>, shape: [Int]) { fatalError() }
    public var scalarType: ScalarType { fatalError() }
    public func view<T: BitwiseCopyable>(as type: T.Type = T.self) -> View<T> { fatalError() }
}
