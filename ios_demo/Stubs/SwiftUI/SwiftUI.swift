// STUB, for type-checking on Linux only: SwiftUI's declarations as published at developer.apple.com, without bodies.

@_exported import CoreGraphics
@_exported import Observation
@_exported import UIKit

@MainActor @preconcurrency public protocol View {
    associatedtype Body: View
    @ViewBuilder var body: Body { get }
}
extension Never: View { public var body: Never { fatalError() } }
@MainActor @preconcurrency public protocol Scene {}
@MainActor @preconcurrency public protocol App {
    associatedtype Body: Scene
    var body: Body { get }
    init()
}
extension App { public static func main() { fatalError() } }
public struct WindowGroup<Content: View>: Scene { public init(@ViewBuilder content: () -> Content) { fatalError() } }

/// Any view of SwiftUI's own.
public struct Primitive: View { public var body: Never { fatalError() } }
extension Optional: View where Wrapped: View { public var body: Never { fatalError() } }
public struct Either<First: View, Second: View>: View { public var body: Never { fatalError() } }
public struct Group2<each Content: View>: View { public var body: Never { fatalError() } }
@resultBuilder public enum ViewBuilder {
    public static func buildBlock() -> Primitive { fatalError() }
    public static func buildBlock<Content: View>(_ content: Content) -> Content { fatalError() }
    public static func buildBlock<each Content: View>(_ content: repeat each Content) -> Group2<repeat each Content> {
        fatalError()
    }
    public static func buildExpression<Content: View>(_ content: Content) -> Content { fatalError() }
    public static func buildIf<Content: View>(_ content: Content?) -> Content? { fatalError() }
    public static func buildEither<First: View, Second: View>(first: First) -> Either<First, Second> { fatalError() }
    public static func buildEither<First: View, Second: View>(second: Second) -> Either<First, Second> { fatalError() }
}

public struct LocalizedStringKey: ExpressibleByStringInterpolation, Equatable {
    public init(stringLiteral value: String) { fatalError() }
}
extension String {
    public struct LocalizationValue: ExpressibleByStringInterpolation {
        public init(stringLiteral value: String) { fatalError() }
    }
    public init(localized keyAndValue: LocalizationValue) { fatalError() }
}
public struct Text: View {
    public init(_ key: LocalizedStringKey) { fatalError() }
    public init(verbatim content: String) { fatalError() }
    public func font(_ font: Font?) -> Text { fatalError() }
    public var body: Never { fatalError() }
}
public struct Font: Sendable {
    public static let headline = Font()
    public static let caption = Font()
    public func monospacedDigit() -> Font { fatalError() }
}
public protocol ShapeStyle {}
public struct Color: View, ShapeStyle, Sendable {
    public static let red = Color()
    public var body: Never { fatalError() }
}
public struct Image: View {
    public init(_ cgImage: CGImage, scale: CGFloat, label: Text) { fatalError() }
    public func resizable() -> Image { fatalError() }
    public var body: Never { fatalError() }
}
public struct Label: View {
    public init(_ titleKey: LocalizedStringKey, systemImage name: String) { fatalError() }
    public var body: Never { fatalError() }
}
public struct HorizontalAlignment: Sendable { public static let leading = HorizontalAlignment() }
public struct VStack<Content: View>: View {
    public init(alignment: HorizontalAlignment, @ViewBuilder content: () -> Content) { fatalError() }
    public var body: Never { fatalError() }
}
public struct ScrollView<Content: View>: View {
    public init(@ViewBuilder content: () -> Content) { fatalError() }
    public var body: Never { fatalError() }
}
public struct TabView<Content: View>: View {
    public init(@ViewBuilder content: () -> Content) { fatalError() }
    public var body: Never { fatalError() }
}
public struct ForEach<Data: RandomAccessCollection, ID: Hashable, Content: View>: View {
    public init(_ data: Data, @ViewBuilder content: @escaping (Data.Element) -> Content)
    where Data.Element: Identifiable, ID == Data.Element.ID { fatalError() }
    public init(_ data: Data, id: KeyPath<Data.Element, ID>, @ViewBuilder content: @escaping (Data.Element) -> Content) {
        fatalError()
    }
    public var body: Never { fatalError() }
}
public struct Picker<Selection: Hashable, Content: View>: View {
    public init(_ titleKey: LocalizedStringKey, selection: Binding<Selection>, @ViewBuilder content: () -> Content) {
        fatalError()
    }
    public var body: Never { fatalError() }
}
public struct Toggle: View {
    public init(_ titleKey: LocalizedStringKey, isOn: Binding<Bool>) { fatalError() }
    public var body: Never { fatalError() }
}
public struct Button: View {
    public init(_ titleKey: LocalizedStringKey, action: @escaping @MainActor () -> Void) { fatalError() }
    public var body: Never { fatalError() }
}
public struct ProgressView: View {
    public init() { fatalError() }
    public var body: Never { fatalError() }
}
public struct ShareLink: View {
    public init(item: URL) { fatalError() }
    public var body: Never { fatalError() }
}
@MainActor @preconcurrency public protocol UIViewRepresentable: View where Body == Never {
    associatedtype UIViewType: UIView
    typealias Context = UIViewRepresentableContext<Self>
    func makeUIView(context: Context) -> UIViewType
    func updateUIView(_ uiView: UIViewType, context: Context)
}
extension UIViewRepresentable { public var body: Never { fatalError() } }
public struct UIViewRepresentableContext<Representable: UIViewRepresentable> {}
public enum ContentMode: Sendable { case fit, fill }
public struct Animation: Equatable, Sendable { public static let `default` = Animation() }

@propertyWrapper @dynamicMemberLookup public struct Binding<Value> {
    public init(get: @escaping @isolated(any) @Sendable () -> Value, set: @escaping @isolated(any) @Sendable (Value) -> Void) {
        fatalError()
    }
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set { fatalError() }
    }
    public var projectedValue: Binding<Value> { fatalError() }
    public subscript<Subject>(dynamicMember keyPath: WritableKeyPath<Value, Subject>) -> Binding<Subject> { fatalError() }
}
@propertyWrapper public struct State<Value> {
    public init(wrappedValue value: Value) { fatalError() }
    public var wrappedValue: Value {
        get { fatalError() }
        nonmutating set { fatalError() }
    }
    public var projectedValue: Binding<Value> { fatalError() }
}
extension State where Value: ExpressibleByNilLiteral { public init() { fatalError() } }
public struct EnvironmentValues { public var accessibilityReduceMotion: Bool { fatalError() } }
@propertyWrapper public struct Environment<Value> {
    public init(_ keyPath: KeyPath<EnvironmentValues, Value>) { fatalError() }
    public var wrappedValue: Value { fatalError() }
}

extension View {
    public func tabItem<Content: View>(@ViewBuilder _ label: () -> Content) -> some View { Primitive() }
    public func tag<Tag: Hashable>(_ tag: Tag) -> some View { Primitive() }
    public func task(_ action: @escaping @MainActor @Sendable () async -> Void) -> some View { Primitive() }
    public func task<ID: Equatable>(id: ID, _ action: @escaping @MainActor @Sendable () async -> Void) -> some View {
        Primitive()
    }
    public func aspectRatio(_ aspectRatio: CGFloat?, contentMode: ContentMode) -> some View { Primitive() }
    public func padding() -> some View { Primitive() }
    public func disabled(_ disabled: Bool) -> some View { Primitive() }
    public func scaledToFit() -> some View { Primitive() }
    public func font(_ font: Font?) -> some View { Primitive() }
    public func foregroundStyle<Style: ShapeStyle>(_ style: Style) -> some View { Primitive() }
    public func animation<Value: Equatable>(_ animation: Animation?, value: Value) -> some View { Primitive() }
    public func accessibilityLabel(_ label: Text) -> some View { Primitive() }
}
public struct EmptyView: View {
    public init() { fatalError() }
    public var body: Never { fatalError() }
}
